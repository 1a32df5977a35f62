// What makes up for drawing some items more often than others: Schaul et al., "Prioritized Experience Replay",
// arXiv:1511.05952, section 3.4.
#ifndef HEADRACE_LEARNER_IMPORTANCE_WEIGHTS_H_
#define HEADRACE_LEARNER_IMPORTANCE_WEIGHTS_H_

#include <cstdint>
#include <span>

namespace headrace {

// w_i = (N P(i))^-exponent / max_j (N P(j))^-exponent = (min_j P(j) / P(i))^exponent, for each item of a batch.
void ImportanceWeights(std::span<const double> probabilities, double exponent, std::span<float> weights);

// Grows linearly from `first` to 1, which it reaches after `end_steps` environment steps; 0: it stays.
double ImportanceExponent(double first, uint64_t env_steps, uint64_t end_steps);

}  // namespace headrace

#endif  // HEADRACE_LEARNER_IMPORTANCE_WEIGHTS_H_
