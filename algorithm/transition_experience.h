// Experience of single transitions (o_t, a_t, r_t, o_{t+1}), as off-policy algorithms sample it from replay.
#ifndef HEADRACE_ALGORITHM_TRANSITION_EXPERIENCE_H_
#define HEADRACE_ALGORITHM_TRANSITION_EXPERIENCE_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "algorithm/algorithm.h"

namespace headrace {

// The slices of a batch, in order. Those of one row are [batch, 1, shape...].
namespace TransitionSlice {
enum : size_t {
  kObservation,  // [batch, 2, shape...]: o_t and o_{t+1}
  kAction,
  kReward,
  kTerminated,
  kPolicyVersion,
};
}

// Signature and slices for continuous actions: observations (recorded as float32), actions in [-1, 1], rewards,
// terminations, policy versions; sampled uniformly, oldest removed first. The rest is for the algorithm to fill in.
// InvalidArgument: observations are not numbers in float32 or float64.
absl::StatusOr<Experience> MakeTransitionExperience(const v1::EnvironmentSpec& environment);

// Numbers in one row of the column: networks see observations and actions of several dimensions flattened.
int64_t ElementsOf(const v1::Column& column);

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_TRANSITION_EXPERIENCE_H_
