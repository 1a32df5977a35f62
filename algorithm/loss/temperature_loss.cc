#include "algorithm/loss/temperature_loss.h"

#include "ATen/ops/mul.h"

namespace headrace {

TemperatureLoss LogTemperatureLoss(const at::Tensor& log_alpha, const at::Tensor& log_prob, double target_entropy) {
  const at::Tensor gradient = log_prob.mean().add_(target_entropy).neg_();
  return {.loss = at::mul(log_alpha, gradient), .log_temperature_gradient = gradient};
}

}  // namespace headrace
