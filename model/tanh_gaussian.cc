#include "model/tanh_gaussian.h"

#include <cmath>
#include <numbers>

#include "ATen/ops/add.h"
#include "ATen/ops/mul.h"
#include "ATen/ops/softplus.h"

namespace headrace {

TanhGaussianSample SampleTanhGaussian(const at::Tensor& output, const at::Tensor& noise) {
  const int64_t actions = noise.size(1);
  const at::Tensor mean = output.narrow(1, 0, actions);
  TanhGaussianSample sample;
  // A copy first: tanh of every other piece of memory takes twice the time.
  sample.bound = output.narrow(1, actions, actions).contiguous().tanh_();
  const at::Tensor log_sigma = at::add(sample.bound.mul(kLogSigmaHalfRange), kLogSigmaMin + kLogSigmaHalfRange);
  sample.scaled_noise = log_sigma.exp().mul_(noise);
  const at::Tensor u = at::add(mean, sample.scaled_noise);
  sample.action = u.tanh();
  // The terms that do not depend on the sample are added once for all dimensions, after the sum.
  constexpr double kLogTwo = std::numbers::ln2;
  const double constant = -static_cast<double>(actions) * (0.5 * std::log(2 * std::numbers::pi) + 2 * kLogTwo);
  const at::Tensor terms = at::softplus(u.mul(-2)).add_(u).mul_(2).sub_(log_sigma).addcmul_(noise, noise, -0.5);
  sample.log_prob = terms.sum(1).add_(constant);
  return sample;
}

void TanhGaussianBackward(const TanhGaussianSample& sample, const at::Tensor& action_gradient,
                          const at::Tensor& log_prob_gradient, at::Tensor& output_gradient) {
  const int64_t rows = action_gradient.size(0);
  const int64_t actions = action_gradient.size(1);
  const at::Tensor a = sample.action.narrow(0, 0, rows);
  const at::Tensor bound = sample.bound.narrow(0, 0, rows);
  const at::Tensor scaled_noise = sample.scaled_noise.narrow(0, 0, rows);
  const at::Tensor g = log_prob_gradient.unsqueeze(1);

  // d a / d u = 1 - a^2 and, with the noise fixed, d log pi / d u = 2 a.
  at::Tensor mean_gradient = output_gradient.narrow(1, 0, actions);
  at::mul_out(mean_gradient, a, g).mul_(2).add_(action_gradient);
  mean_gradient.addcmul_(action_gradient, a.square(), -1);

  // d u / d log sigma = sigma eps, and log pi holds -log sigma itself.
  at::Tensor bound_gradient = output_gradient.narrow(1, actions, actions);
  at::mul_out(bound_gradient, mean_gradient, scaled_noise).sub_(g).mul_(kLogSigmaHalfRange);
  bound_gradient.addcmul_(bound_gradient.mul(bound), bound, -1);
}

}  // namespace headrace
