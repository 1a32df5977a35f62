// Experience of transitions over n steps, (o_t, a_t, r_t ... r_{t+n-1}, o_{t+n}), as off-policy algorithms sample it
// from replay.
#ifndef HEADRACE_ALGORITHM_TRANSITION_EXPERIENCE_H_
#define HEADRACE_ALGORITHM_TRANSITION_EXPERIENCE_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "algorithm/algorithm.h"

namespace headrace {

// The slices of a batch, in order. At an episode's end an item has fewer than n steps: its rewards beyond are 0, and
// o_{t+n} stands for its last observation.
namespace TransitionSlice {
enum : size_t {
  kObservation,    // [batch, 2, shape...]: o_t and o_{t+n}
  kAction,         // [batch, 1, shape...]
  kReward,         // [batch, n]
  kTerminated,     // [batch, n]
  kPolicyVersion,  // [batch, 1]
};
}

// Signature and slices: observations, actions (continuous ones in [-1, 1]), rewards, terminations, policy versions;
// sampled uniformly, oldest removed first. The rest is for the algorithm to fill in. InvalidArgument: observations that
// are not recorded, as in recorded_columns.h.
absl::StatusOr<Experience> MakeTransitionExperience(const v1::EnvironmentSpec& environment, uint32_t steps = 1);

// Numbers in one row of the column: networks see observations and actions of several dimensions flattened.
int64_t ElementsOf(const v1::Column& column);

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_TRANSITION_EXPERIENCE_H_
