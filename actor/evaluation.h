// Deterministic evaluation: whole episodes with the greedy policy, from the initial states that a seed chooses.
#ifndef HEADRACE_ACTOR_EVALUATION_H_
#define HEADRACE_ACTOR_EVALUATION_H_

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "actor/env/environment.h"
#include "algorithm/algorithm.h"
#include "proto/column.pb.h"
#include "proto/run.pb.h"

namespace headrace {

struct EvaluationOptions {
  std::function<absl::StatusOr<std::unique_ptr<Environment>>()> make_environment;
  int max_episode_steps = 0;  // 0: the environment's own limit
  int frame_stack = 1;
  v1::Signature signature;  // of the experience that the policy learns from
  uint32_t episodes = 0;
  uint64_t seed = 0;
  std::function<bool()> should_stop;
};

// Plays many episodes at a time: number i starts from the i-th initial state of the seed, or, if the environment breaks
// it off, once more from another one. What make_environment says; InvalidArgument: the environment does not fit the
// signature; Cancelled: should_stop said so; Internal: the policy cannot act, or an episode was broken off too often,
// and why.
absl::StatusOr<v1::EvaluationResult> Evaluate(const EvaluationOptions& options, Policy& policy);

}  // namespace headrace

#endif  // HEADRACE_ACTOR_EVALUATION_H_
