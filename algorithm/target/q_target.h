// Targets of deep Q-networks.
#ifndef HEADRACE_ALGORITHM_TARGET_Q_TARGET_H_
#define HEADRACE_ALGORITHM_TARGET_Q_TARGET_H_

#include "ATen/core/Tensor.h"

namespace headrace {

//   y = r + discount max_a Q'(o', a)                     Mnih et al., 2015
//
// reward: [B]; discount: [B], 0 where the episode terminated; target_q: [B, actions], of the target network at o'.
// Returns [B].
at::Tensor QTarget(const at::Tensor& reward, const at::Tensor& discount, const at::Tensor& target_q);

//   y = r + discount Q'(o', argmax_a Q(o', a))           van Hasselt et al., arXiv:1509.06461, equation 4
//
// q: [B, actions], of the network that learns, at o'.
at::Tensor DoubleQTarget(const at::Tensor& reward, const at::Tensor& discount, const at::Tensor& target_q,
                         const at::Tensor& q);

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_TARGET_Q_TARGET_H_
