// The loss that adjusts soft actor-critic's temperature: Haarnoja et al., arXiv:1812.05905, equation 18.
#ifndef HEADRACE_ALGORITHM_LOSS_TEMPERATURE_LOSS_H_
#define HEADRACE_ALGORITHM_LOSS_TEMPERATURE_LOSS_H_

#include "ATen/core/Tensor.h"

namespace headrace {

struct TemperatureLoss {
  at::Tensor loss;                      // []
  at::Tensor log_temperature_gradient;  // []
};

//   L = -log alpha mean_b (log pi(a|s) + target entropy),   log pi held fixed
//
// The paper writes alpha where log alpha stands here, as in its authors' code: the fixed point is the same, and the
// step does not shrink with alpha. The temperature rises while the policy's entropy is below the target. log_alpha: [],
// log_prob: [B].
TemperatureLoss LogTemperatureLoss(const at::Tensor& log_alpha, const at::Tensor& log_prob, double target_entropy);

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_LOSS_TEMPERATURE_LOSS_H_
