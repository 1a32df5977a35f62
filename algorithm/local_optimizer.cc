#include "algorithm/local_optimizer.h"

#include <algorithm>
#include <utility>

#include "ATen/TensorOperators.h"
#include "ATen/ops/_foreach_add.h"
#include "ATen/ops/_foreach_addcdiv.h"
#include "ATen/ops/_foreach_addcmul.h"
#include "ATen/ops/_foreach_mul.h"
#include "ATen/ops/_foreach_norm.h"
#include "ATen/ops/_foreach_sqrt.h"
#include "ATen/ops/_fused_adam.h"
#include "ATen/ops/stack.h"
#include "ATen/ops/zeros.h"
#include "ATen/ops/zeros_like.h"
#include "c10/core/InferenceMode.h"
#include "c10/util/Exception.h"
#include "common/sign_of_life.h"

namespace headrace {
namespace {

constexpr double kBeta1 = 0.9;
constexpr double kBeta2 = 0.999;

// Gradients scaled down together where their norm is above the largest. Nobody waits for the norm.
std::vector<at::Tensor> ClipNorm(const std::vector<at::Tensor>& gradients, double largest) {
  const at::Tensor norm = at::stack(at::_foreach_norm(gradients)).norm();
  return at::_foreach_mul(gradients, (largest / (norm + 1e-6)).clamp_max(1));
}

}  // namespace

LocalOptimizer::LocalOptimizer(std::vector<ParameterGroup> groups, std::string prefix) : prefix_(std::move(prefix)) {
  for (ParameterGroup& group : groups) {
    Optimizer optimizer;
    for (const at::Tensor& parameter : group.parameters) {
      optimizer.square_avg.push_back(at::zeros_like(parameter));
      if (group.optimizer.kind() != v1::ADAM) continue;
      optimizer.exp_avg.push_back(at::zeros_like(parameter));
      optimizer.step.push_back(at::zeros({}, parameter.options().dtype(at::kFloat)));
    }
    optimizer.group = std::move(group);
    optimizers_.push_back(std::move(optimizer));
  }
}

void LocalOptimizer::Apply(size_t group, const std::vector<at::Tensor>& gradients) {
  SignOfLife::Give();  // a round of proximal policy optimisation has thousands of steps, and nothing else gives one
  TORCH_CHECK(group < optimizers_.size(), "no parameter group number ", group);
  Optimizer& optimizer = optimizers_[group];
  TORCH_CHECK(gradients.size() == optimizer.group.parameters.size(), "group ", optimizer.group.name, " has ",
              optimizer.group.parameters.size(), " parameters, got ", gradients.size(), " gradients");
  const c10::InferenceMode no_autograd;
  const v1::OptimizerOptions& options = optimizer.group.optimizer;
  const double largest = options.max_gradient_norm();
  const double learning_rate = options.learning_rate() * (options.anneal() ? std::max(0.0, 1 - progress_) : 1);
  const std::vector<at::Tensor> clipped = largest > 0 ? ClipNorm(gradients, largest) : gradients;
  if (options.kind() == v1::ADAM) {
    StepAdam(optimizer, clipped, learning_rate);
  } else {
    StepRmsProp(optimizer, clipped, learning_rate);
  }
}

void LocalOptimizer::StepAdam(Optimizer& optimizer, const std::vector<at::Tensor>& gradients, double learning_rate) {
  at::_foreach_add_(optimizer.step, 1);
  at::_fused_adam_(optimizer.group.parameters, gradients, optimizer.exp_avg, optimizer.square_avg,
                   /*max_exp_avg_sqs=*/{}, optimizer.step, learning_rate, kBeta1, kBeta2, /*weight_decay=*/0,
                   optimizer.group.optimizer.epsilon(), /*amsgrad=*/false, /*maximize=*/false);
}

void LocalOptimizer::StepRmsProp(Optimizer& optimizer, const std::vector<at::Tensor>& gradients, double learning_rate) {
  const v1::OptimizerOptions& options = optimizer.group.optimizer;
  at::_foreach_mul_(optimizer.square_avg, options.decay());
  at::_foreach_addcmul_(optimizer.square_avg, gradients, gradients, 1 - options.decay());
  std::vector<at::Tensor> root;
  if (options.kind() == v1::RMSPROP_EPSILON_INSIDE) {
    root = at::_foreach_add(optimizer.square_avg, options.epsilon());
    at::_foreach_sqrt_(root);
  } else {
    root = at::_foreach_sqrt(optimizer.square_avg);
    at::_foreach_add_(root, options.epsilon());
  }
  at::_foreach_addcdiv_(optimizer.group.parameters, gradients, root, -learning_rate);
}

std::vector<NamedTensor> LocalOptimizer::StateTensors() const {
  std::vector<NamedTensor> tensors;
  for (const Optimizer& optimizer : optimizers_) {
    for (size_t i = 0; i < optimizer.square_avg.size(); ++i) {
      const std::string prefix = prefix_ + "optimizer/" + optimizer.group.name + "/" + std::to_string(i);
      if (optimizer.group.optimizer.kind() != v1::ADAM) {
        tensors.push_back({prefix + "/square_avg", optimizer.square_avg[i]});
        continue;
      }
      tensors.push_back({prefix + "/exp_avg", optimizer.exp_avg[i]});
      tensors.push_back({prefix + "/exp_avg_sq", optimizer.square_avg[i]});
      tensors.push_back({prefix + "/step", optimizer.step[i]});
    }
  }
  return tensors;
}

}  // namespace headrace
