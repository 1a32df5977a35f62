#include "learner/importance_weights.h"

#include <algorithm>
#include <cmath>

namespace headrace {

void ImportanceWeights(std::span<const double> probabilities, double exponent, std::span<float> weights) {
  const double least = *std::min_element(probabilities.begin(), probabilities.end());
  std::transform(probabilities.begin(), probabilities.end(), weights.begin(),
                 [&](double probability) { return static_cast<float>(std::pow(least / probability, exponent)); });
}

double ImportanceExponent(double first, uint64_t env_steps, uint64_t end_steps) {
  if (end_steps == 0) return first;
  return first + (1 - first) * std::min(1.0, static_cast<double>(env_steps) / static_cast<double>(end_steps));
}

}  // namespace headrace
