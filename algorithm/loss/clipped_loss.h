// The clipped losses of policy and value in proximal policy optimisation: Schulman et al., arXiv:1707.06347, equation
// 7, and, for the value, the same idea as in its authors' code. With their derivatives, which are all that is left of
// the gradient but the network's own.
#ifndef HEADRACE_ALGORITHM_LOSS_CLIPPED_LOSS_H_
#define HEADRACE_ALGORITHM_LOSS_CLIPPED_LOSS_H_

#include <optional>

#include "ATen/core/Tensor.h"

namespace headrace {

struct ClippedPolicyLoss {
  at::Tensor loss;               // []
  at::Tensor log_prob_gradient;  // [B]: derivative by log pi
  at::Tensor divergence;         // []: estimate of KL(pi_old || pi)
  at::Tensor clipped;            // []: share of samples whose ratio is beyond the clip
};

//   L = mean_b max(-A r, -A clip(r, 1 - c, 1 + c)),   r = pi(a|s) / pi_old(a|s)
//   dL / d log pi = -A r / B where the first is the larger, else 0
//
// The divergence is mean_b (r - 1 - log r): Schulman, "Approximating KL divergence", 2020. All [B].
ClippedPolicyLoss MakeClippedPolicyLoss(const at::Tensor& log_prob, const at::Tensor& old_log_prob,
                                        const at::Tensor& advantage, double clip);

struct ValueLoss {
  at::Tensor loss;            // []
  at::Tensor value_gradient;  // [B]: derivative by V
};

//   L = mean_b max((V - y)^2, (V_old + clip(V - V_old, -c, c) - y)^2);   without a clip L = mean_b (V - y)^2
//   dL / dV = 2 (V - y) / B where the first is the larger or |V - V_old| <= c, else 0
//
// All [B].
ValueLoss MakeValueLoss(const at::Tensor& value, const at::Tensor& old_value, const at::Tensor& target,
                        std::optional<double> clip);

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_LOSS_CLIPPED_LOSS_H_
