// The gradient sink of a learner that steps its own parameters: Adam, one fused operation for each group.
//
//   LocalOptimizer optimizer(algorithm->ParameterGroups());
//   algorithm->Update(batch, optimizer);
//
// Not thread-safe.
#ifndef HEADRACE_ALGORITHM_LOCAL_OPTIMIZER_H_
#define HEADRACE_ALGORITHM_LOCAL_OPTIMIZER_H_

#include <cstddef>
#include <vector>

#include "ATen/core/Tensor.h"
#include "algorithm/gradient_sink.h"
#include "model/named_tensor.h"

namespace headrace {

class LocalOptimizer : public GradientSink {
 public:
  explicit LocalOptimizer(std::vector<ParameterGroup> groups);

  void Apply(size_t group, const std::vector<at::Tensor>& gradients) override;

  // Live: "optimizer/GROUP/I/exp_avg", ".../exp_avg_sq" and ".../step" of the group's parameter number I. Copying all
  // of them back restores the optimiser to the bit.
  std::vector<NamedTensor> StateTensors() const;

 private:
  struct AdamState {
    ParameterGroup group;
    std::vector<at::Tensor> exp_avg;
    std::vector<at::Tensor> exp_avg_sq;
    std::vector<at::Tensor> step;  // a float scalar on the parameters' device, so that nobody waits for it
  };

  std::vector<AdamState> states_;
};

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_LOCAL_OPTIMIZER_H_
