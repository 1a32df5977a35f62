// The gradient sink of a learner that steps its own parameters.
//
//   LocalOptimizer optimizer(algorithm->ParameterGroups());
//   optimizer.SetProgress(0.25);                       // a quarter of the run is done
//   algorithm->Update(batch, optimizer);
//
// Not thread-safe.
#ifndef HEADRACE_ALGORITHM_LOCAL_OPTIMIZER_H_
#define HEADRACE_ALGORITHM_LOCAL_OPTIMIZER_H_

#include <cstddef>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "algorithm/gradient_sink.h"
#include "model/named_tensor.h"

namespace headrace {

class LocalOptimizer : public GradientSink {
 public:
  // `prefix`: of the names of StateTensors.
  explicit LocalOptimizer(std::vector<ParameterGroup> groups, std::string prefix = "");

  // The share of the run that is done, from 0 to 1: what learning rates that are annealed follow.
  void SetProgress(double progress) { progress_ = progress; }
  void Apply(size_t group, const std::vector<at::Tensor>& gradients) override;

  // Live: of the group's parameter number I PREFIX"optimizer/GROUP/I/exp_avg", ".../exp_avg_sq" and ".../step" with
  // Adam,
  // ".../square_avg" with RMSProp. Copying all of them back restores the optimiser to the bit.
  std::vector<NamedTensor> StateTensors() const;

 private:
  struct Optimizer {
    ParameterGroup group;
    // Adam alone:
    std::vector<at::Tensor> exp_avg;
    std::vector<at::Tensor> step;  // a float scalar on the parameters' device, so that nobody waits for it
    // Both:
    std::vector<at::Tensor> square_avg;
  };

  static void StepAdam(Optimizer& optimizer, const std::vector<at::Tensor>& gradients, double learning_rate);
  static void StepRmsProp(Optimizer& optimizer, const std::vector<at::Tensor>& gradients, double learning_rate);

  std::string prefix_;
  std::vector<Optimizer> optimizers_;
  double progress_ = 0;
};

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_LOCAL_OPTIMIZER_H_
