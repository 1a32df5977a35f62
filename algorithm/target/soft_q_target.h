// The critics' target in soft actor-critic: Haarnoja et al., arXiv:1812.05905, equations 2, 3 and 5.
#ifndef HEADRACE_ALGORITHM_TARGET_SOFT_Q_TARGET_H_
#define HEADRACE_ALGORITHM_TARGET_SOFT_Q_TARGET_H_

#include "ATen/core/Tensor.h"

namespace headrace {

//   y = r + discount (min_i Q_i(s', a') - alpha log pi(a'|s'))
//
// reward: [B]; discount: [B], 0 where the episode terminated: the entropy of the next action vanishes with the rest, a
// time limit is no termination. next_q: [members, B], of the target networks; alpha: []; next_log_prob: [B]. Returns
// [B].
at::Tensor SoftQTarget(const at::Tensor& reward, const at::Tensor& discount, const at::Tensor& next_q,
                       const at::Tensor& alpha, const at::Tensor& next_log_prob);

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_TARGET_SOFT_Q_TARGET_H_
