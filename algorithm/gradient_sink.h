// Where Update's gradients go: the local optimiser, or a push to the learner.
#ifndef HEADRACE_ALGORITHM_GRADIENT_SINK_H_
#define HEADRACE_ALGORITHM_GRADIENT_SINK_H_

#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "proto/algorithm/optimizer.pb.h"

namespace headrace {

// Parameters that are stepped together, by one optimiser.
struct ParameterGroup {
  std::string name;  // "actor"
  std::vector<at::Tensor> parameters;
  v1::OptimizerOptions optimizer;
};

class GradientSink {
 public:
  virtual ~GradientSink() = default;
  // `gradients` are those of group number `group`'s parameters, in their order. The parameters may have changed when
  // this returns.
  virtual void Apply(size_t group, const std::vector<at::Tensor>& gradients) = 0;
};

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_GRADIENT_SINK_H_
