// A Gaussian squashed by tanh: u = mu + sigma eps, eps ~ N(0, I), a = tanh(u) in (-1, 1).
//
//   log pi(a|s) = sum_i -eps_i^2 / 2 - log sigma_i - log(2 pi) / 2 - log(1 - tanh(u_i)^2)
//
// The last term is computed as 2 (log 2 - u - softplus(-2u)), which equals it exactly and neither underflows nor loses
// its gradient; log(1 - a^2 + 1e-6), as often seen, is wrong by 2|u| - 15.2 nats a dimension from |u| = 7.5 on.
//
// The network's output x becomes log sigma = -5 + 3.5 (tanh(x) + 1), within [-5, 2]: smooth bounds, because a hard
// clamp has no gradient outside of its bounds, and a unit that strays there stays.
#ifndef HEADRACE_MODEL_TANH_GAUSSIAN_H_
#define HEADRACE_MODEL_TANH_GAUSSIAN_H_

#include "ATen/core/Tensor.h"

namespace headrace {

inline constexpr double kLogSigmaMin = -5;
inline constexpr double kLogSigmaMax = 2;
inline constexpr double kLogSigmaHalfRange = (kLogSigmaMax - kLogSigmaMin) / 2;

struct TanhGaussianSample {
  at::Tensor action;    // [B, A]
  at::Tensor log_prob;  // [B]
  // Kept for the derivative.
  at::Tensor bound;         // [B, A]: tanh of the output that gives log sigma
  at::Tensor scaled_noise;  // [B, A]: sigma eps
};

// output: [B, 2 A], mu and then what log sigma is made of. noise: [B, A] standard normal.
TanhGaussianSample SampleTanhGaussian(const at::Tensor& output, const at::Tensor& noise);

// Derivative by `output`, written to `output_gradient` [n, 2 A], of a loss whose derivatives by the first n actions and
// log-probabilities are `action_gradient` [n, A] and `log_prob_gradient` [n], the noise held fixed (the
// reparameterisation trick).
void TanhGaussianBackward(const TanhGaussianSample& sample, const at::Tensor& action_gradient,
                          const at::Tensor& log_prob_gradient, at::Tensor& output_gradient);

}  // namespace headrace

#endif  // HEADRACE_MODEL_TANH_GAUSSIAN_H_
