// Deterministic evaluation: whole episodes with the greedy policy, from the same initial states every time.
#ifndef HEADRACE_ACTOR_EVALUATION_H_
#define HEADRACE_ACTOR_EVALUATION_H_

#include <functional>

#include "absl/status/statusor.h"
#include "algorithm/algorithm.h"
#include "proto/config.pb.h"
#include "proto/run.pb.h"

namespace headrace {

// Plays `episodes` episodes, many at a time: number i starts from the i-th initial state of `seed`. Cancelled:
// `should_stop` said so. Internal: an episode was interrupted, or the policy cannot act, and why.
absl::StatusOr<v1::EvaluationResult> Evaluate(const v1::RunConfig& config, Policy& policy, uint32_t episodes,
                                              uint64_t seed, const std::function<bool()>& should_stop);

}  // namespace headrace

#endif  // HEADRACE_ACTOR_EVALUATION_H_
