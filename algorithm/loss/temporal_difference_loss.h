// Squared error of state-action values against a fixed target.
#ifndef HEADRACE_ALGORITHM_LOSS_TEMPORAL_DIFFERENCE_LOSS_H_
#define HEADRACE_ALGORITHM_LOSS_TEMPORAL_DIFFERENCE_LOSS_H_

#include "ATen/core/Tensor.h"

namespace headrace {

struct TemporalDifferenceLoss {
  at::Tensor loss;        // []
  at::Tensor q_gradient;  // [members, B]: derivative by Q
  at::Tensor error;       // [members, B]: Q - y
};

//   L = sum_i mean_b w (Q_i - y)^2 / 2      (SAC: arXiv:1812.05905, equation 5)
//
// q: [members, B], y: [B]. weights: [B], of prioritised replay (arXiv:1511.05952, section 3.4); undefined: all 1.
TemporalDifferenceLoss SquaredTemporalDifferenceLoss(const at::Tensor& q, const at::Tensor& y,
                                                     const at::Tensor& weights = {});

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_LOSS_TEMPORAL_DIFFERENCE_LOSS_H_
