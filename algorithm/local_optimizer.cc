#include "algorithm/local_optimizer.h"

#include <string>
#include <utility>

#include "ATen/ops/_foreach_add.h"
#include "ATen/ops/_fused_adam.h"
#include "ATen/ops/zeros.h"
#include "ATen/ops/zeros_like.h"
#include "c10/core/InferenceMode.h"
#include "c10/util/Exception.h"

namespace headrace {

LocalOptimizer::LocalOptimizer(std::vector<ParameterGroup> groups) {
  for (ParameterGroup& group : groups) {
    AdamState state;
    for (const at::Tensor& parameter : group.parameters) {
      state.exp_avg.push_back(at::zeros_like(parameter));
      state.exp_avg_sq.push_back(at::zeros_like(parameter));
      state.step.push_back(at::zeros({}, parameter.options().dtype(at::kFloat)));
    }
    state.group = std::move(group);
    states_.push_back(std::move(state));
  }
}

void LocalOptimizer::Apply(size_t group, const std::vector<at::Tensor>& gradients) {
  TORCH_CHECK(group < states_.size(), "no parameter group number ", group);
  AdamState& state = states_[group];
  TORCH_CHECK(gradients.size() == state.group.parameters.size(), "group ", state.group.name, " has ",
              state.group.parameters.size(), " parameters, got ", gradients.size(), " gradients");
  const c10::InferenceMode no_autograd;
  const AdamOptions& options = state.group.optimizer;
  at::_foreach_add_(state.step, 1);
  at::_fused_adam_(state.group.parameters, gradients, state.exp_avg, state.exp_avg_sq, /*max_exp_avg_sqs=*/{},
                   state.step, options.learning_rate, options.beta1, options.beta2, /*weight_decay=*/0, options.epsilon,
                   /*amsgrad=*/false, /*maximize=*/false);
}

std::vector<NamedTensor> LocalOptimizer::StateTensors() const {
  std::vector<NamedTensor> tensors;
  for (const AdamState& state : states_) {
    for (size_t i = 0; i < state.step.size(); ++i) {
      const std::string prefix = "optimizer/" + state.group.name + "/" + std::to_string(i);
      tensors.push_back({prefix + "/exp_avg", state.exp_avg[i]});
      tensors.push_back({prefix + "/exp_avg_sq", state.exp_avg_sq[i]});
      tensors.push_back({prefix + "/step", state.step[i]});
    }
  }
  return tensors;
}

}  // namespace headrace
