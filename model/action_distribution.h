// What policies say of actions: a categorical distribution over discrete ones, a Gaussian with independent dimensions
// over continuous ones. As functions of a network's output, for learning; and as samples, for acting.
//
// The Gaussian is not squashed: what reaches an environment is cut off to its bounds, while log-probabilities are of
// the action as it was drawn. Its standard deviation is a parameter that does not depend on the observation.
#ifndef HEADRACE_MODEL_ACTION_DISTRIBUTION_H_
#define HEADRACE_MODEL_ACTION_DISTRIBUTION_H_

#include <cstdint>
#include <span>

#include "ATen/core/Tensor.h"
#include "common/random.h"

namespace headrace {

struct ActionLikelihood {
  at::Tensor log_prob;  // [B], of the actions
  at::Tensor entropy;   // [B], of the distributions
  at::Tensor terms;     // [B, A], what derivatives are made of: log pi(.|o), or (a - mean) / std
};

// logits: [B, A]; actions: [B], any integer type.
ActionLikelihood CategoricalLikelihood(const at::Tensor& logits, const at::Tensor& actions);

// mean, actions: [B, A]; log_std: [A].
ActionLikelihood GaussianLikelihood(const at::Tensor& mean, const at::Tensor& log_std, const at::Tensor& actions);

// The derivatives of a loss by the network's output, from those by log_prob and by entropy, both [B].
struct PolicyGradient {
  at::Tensor policy;   // [B, A]: by logits, or means
  at::Tensor log_std;  // [A], of a Gaussian
};

//   d log pi(a) / d x_i = [i = a] - pi_i,   d H / d x_i = -pi_i (log pi_i + H)
PolicyGradient CategoricalBackward(const ActionLikelihood& likelihood, const at::Tensor& actions,
                                   const at::Tensor& log_prob_gradient, const at::Tensor& entropy_gradient);

//   d log pi(a) / d mean_i = z_i / std_i,   d log pi(a) / d log std_i = z_i^2 - 1,   d H / d log std_i = 1
// where z_i = (a_i - mean_i) / std_i.
PolicyGradient GaussianBackward(const ActionLikelihood& likelihood, const at::Tensor& log_std,
                                const at::Tensor& log_prob_gradient, const at::Tensor& entropy_gradient);

// One action, and its log-probability.
struct DiscreteSample {
  int32_t action;
  float log_prob;
};
DiscreteSample SampleCategorical(std::span<const float> logits, RandomStream& random);
int32_t MostLikely(std::span<const float> logits);

// Fills `action` and returns its log-probability. `noise`: standard normal, one for each dimension.
float SampleGaussian(std::span<const float> mean, std::span<const float> log_std, std::span<const float> noise,
                     std::span<float> action);

}  // namespace headrace

#endif  // HEADRACE_MODEL_ACTION_DISTRIBUTION_H_
