// The policy's loss in soft actor-critic: Haarnoja et al., arXiv:1812.05905, equation 9, with the smaller of the
// critics' values (section 6).
#ifndef HEADRACE_ALGORITHM_LOSS_SOFT_ACTOR_LOSS_H_
#define HEADRACE_ALGORITHM_LOSS_SOFT_ACTOR_LOSS_H_

#include "ATen/core/Tensor.h"

namespace headrace {

struct SoftActorLoss {
  at::Tensor loss;               // []
  at::Tensor log_prob_gradient;  // [B]: derivative by log pi
  at::Tensor q_gradient;         // [members, B]: derivative by Q; critics with the same smallest value share it
};

//   L = mean_b (alpha log pi(a|s) - min_i Q_i(s, a)),   alpha held fixed
//
// alpha: [], log_prob: [B], q: [members, B].
SoftActorLoss MinimumSoftActorLoss(const at::Tensor& alpha, const at::Tensor& log_prob, const at::Tensor& q);

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_LOSS_SOFT_ACTOR_LOSS_H_
