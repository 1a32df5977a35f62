// Squared error of state-action values against a fixed target.
#ifndef HEADRACE_ALGORITHM_LOSS_TEMPORAL_DIFFERENCE_LOSS_H_
#define HEADRACE_ALGORITHM_LOSS_TEMPORAL_DIFFERENCE_LOSS_H_

#include "ATen/core/Tensor.h"

namespace headrace {

struct TemporalDifferenceLoss {
  at::Tensor loss;        // []
  at::Tensor q_gradient;  // [members, B]: derivative by Q
};

//   L = sum_i mean_b (Q_i - y)^2 / 2      (SAC: arXiv:1812.05905, equation 5)
//
// q: [members, B], y: [B].
TemporalDifferenceLoss SquaredTemporalDifferenceLoss(const at::Tensor& q, const at::Tensor& y);

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_LOSS_TEMPORAL_DIFFERENCE_LOSS_H_
