// Experience of unrolls, as on-policy algorithms learn from it: consecutive rows of one environment that each are used
// once, over the ends of episodes.
#ifndef HEADRACE_ALGORITHM_UNROLL_EXPERIENCE_H_
#define HEADRACE_ALGORITHM_UNROLL_EXPERIENCE_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "algorithm/algorithm.h"

namespace headrace {

// The slices of a batch, in order; each [batch, rows, shape...].
namespace UnrollSlice {
enum : size_t {
  kObservation,
  kAction,
  kReward,
  kTerminated,
  kObservationOnly,  // 1 where a row is no step
  kLogProb,          // of the action, under the policy that acted
  kPolicyVersion,
  kRecurrentState,         // where the policy is recurrent: [batch, 1, state], for the first row of burn-in or unroll
  kBurnInObservation,      // with burn-in: of the rows before the unroll
  kBurnInObservationOnly,  // the same
};
}

// Of algorithms whose policy is recurrent.
struct RecurrentRows {
  int64_t state_size = 0;  // numbers in float32; 0: it is not
  uint32_t burn_in = 0;    // rows before an unroll that only bring the state up to date
};

// Unrolls of `length` rows and the row after them, where the next unroll begins. InvalidArgument: observations that are
// neither numbers in float32 or float64 nor bytes.
absl::StatusOr<Experience> MakeUnrollExperience(const v1::EnvironmentSpec& environment, uint32_t length,
                                                const RecurrentRows& recurrent = {});

// Rounds: of every environment `steps` steps with one policy, then its next observation. Items of environments whose
// episodes end on the way have more rows, up to twice as many, those of environments that break down have fewer steps,
// perhaps none; shorter ones repeat their last row, which is no step.
absl::StatusOr<Experience> MakeRoundExperience(const v1::EnvironmentSpec& environment, uint32_t steps,
                                               const RecurrentRows& recurrent = {});

// What the functions that compute targets are given of a batch.
struct UnrollTensors {
  at::Tensor reward;    // [B, R]
  at::Tensor discount;  // [B, R]: of what follows the step; 0 where it terminated the episode
  at::Tensor is_step;   // [B, R]: 1 where the row is a step whose next observation is the next row's, else 0
};
// `reward_scale`, `reward_clip`: see ActorCriticOptions.
UnrollTensors MakeUnrollTensors(const Batch& batch, double discount, double reward_scale, double reward_clip);

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_UNROLL_EXPERIENCE_H_
