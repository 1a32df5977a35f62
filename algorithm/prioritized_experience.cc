#include "algorithm/prioritized_experience.h"

namespace headrace {

void Prioritize(const v1::PrioritizedReplayOptions& options, Experience& experience) {
  if (!options.enabled()) return;
  experience.sampler = v1::PROPORTIONAL;
  experience.priority_exponent = options.exponent();
  experience.importance_exponent = options.importance_exponent();
}

}  // namespace headrace
