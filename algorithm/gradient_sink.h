// Where Update's gradients go: the local optimiser, later a push to the learner, or an all-reduce.
#ifndef HEADRACE_ALGORITHM_GRADIENT_SINK_H_
#define HEADRACE_ALGORITHM_GRADIENT_SINK_H_

#include <string>
#include <vector>

#include "ATen/core/Tensor.h"

namespace headrace {

struct AdamOptions {
  double learning_rate = 3e-4;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
};

// Parameters that are stepped together, by one optimiser.
struct ParameterGroup {
  std::string name;  // "actor"
  std::vector<at::Tensor> parameters;
  AdamOptions optimizer;
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
