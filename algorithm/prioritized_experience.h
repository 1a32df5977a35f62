// What prioritised replay asks of an algorithm's experience.
#ifndef HEADRACE_ALGORITHM_PRIORITIZED_EXPERIENCE_H_
#define HEADRACE_ALGORITHM_PRIORITIZED_EXPERIENCE_H_

#include "algorithm/algorithm.h"
#include "proto/algorithm/prioritized_replay.pb.h"

namespace headrace {

// Nothing where it is not enabled. With it, batches come with weights, and the algorithm must give Priorities.
void Prioritize(const v1::PrioritizedReplayOptions& options, Experience& experience);

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_PRIORITIZED_EXPERIENCE_H_
