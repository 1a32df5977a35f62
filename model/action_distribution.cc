#include "model/action_distribution.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "ATen/TensorOperators.h"
#include "ATen/ops/log_softmax.h"

namespace headrace {
namespace {

const double kHalfLogTwoPi = 0.5 * std::log(2 * std::numbers::pi);

}  // namespace

ActionLikelihood CategoricalLikelihood(const at::Tensor& logits, const at::Tensor& actions) {
  const at::Tensor log_probs = at::log_softmax(logits, -1);
  return {.log_prob = log_probs.gather(-1, actions.to(at::kLong).unsqueeze(-1)).squeeze(-1),
          .entropy = -(log_probs.exp() * log_probs).sum(-1),
          .terms = log_probs};
}

ActionLikelihood GaussianLikelihood(const at::Tensor& mean, const at::Tensor& log_std, const at::Tensor& actions) {
  const at::Tensor deviations = (actions - mean) * (-log_std).exp();
  const double dimensions = static_cast<double>(mean.size(-1));
  return {.log_prob = (deviations.square() * -0.5 - log_std).sum(-1) - kHalfLogTwoPi * dimensions,
          .entropy = (log_std.sum() + dimensions * (0.5 + kHalfLogTwoPi)).expand({mean.size(0)}),
          .terms = deviations};
}

PolicyGradient CategoricalBackward(const ActionLikelihood& likelihood, const at::Tensor& actions,
                                   const at::Tensor& log_prob_gradient, const at::Tensor& entropy_gradient) {
  const at::Tensor by_log_prob = log_prob_gradient.unsqueeze(-1), by_entropy = entropy_gradient.unsqueeze(-1);
  const at::Tensor weight = (likelihood.terms + likelihood.entropy.unsqueeze(-1)).mul_(by_entropy).add_(by_log_prob);
  return {.policy = likelihood.terms.exp().mul_(weight).neg_().scatter_add_(-1, actions.to(at::kLong).unsqueeze(-1),
                                                                            by_log_prob),
          .log_std = {}};
}

PolicyGradient GaussianBackward(const ActionLikelihood& likelihood, const at::Tensor& log_std,
                                const at::Tensor& log_prob_gradient, const at::Tensor& entropy_gradient) {
  const at::Tensor weighted = likelihood.terms * log_prob_gradient.unsqueeze(-1);
  at::Tensor by_log_std = (weighted * likelihood.terms).sum(0);
  return {.policy = weighted * (-log_std).exp(),
          .log_std = by_log_std.add_((entropy_gradient - log_prob_gradient).sum())};
}

DiscreteSample SampleCategorical(std::span<const float> logits, RandomStream& random) {
  const float largest = *std::max_element(logits.begin(), logits.end());
  double total = 0;
  for (const float logit : logits) total += std::exp(static_cast<double>(logit - largest));
  double left = random.Uniform() * total;
  size_t chosen = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const double weight = std::exp(static_cast<double>(logits[i] - largest));
    if (weight > 0) chosen = i;  // the last one at least, where rounding leads past the end
    if (left < weight) break;
    left -= weight;
  }
  return {static_cast<int32_t>(chosen), static_cast<float>(logits[chosen] - largest - std::log(total))};
}

int32_t MostLikely(std::span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

float SampleGaussian(std::span<const float> mean, std::span<const float> log_std, std::span<const float> noise,
                     std::span<float> action) {
  double log_prob = 0;
  for (size_t i = 0; i < mean.size(); ++i) {
    action[i] = mean[i] + std::exp(log_std[i]) * noise[i];
    log_prob -= 0.5 * static_cast<double>(noise[i]) * noise[i] + log_std[i] + kHalfLogTwoPi;
  }
  return static_cast<float>(log_prob);
}

}  // namespace headrace
