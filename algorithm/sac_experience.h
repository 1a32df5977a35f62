// What can be known of soft actor-critic without building it: its facts, and the experience it asks for.
#ifndef HEADRACE_ALGORITHM_SAC_EXPERIENCE_H_
#define HEADRACE_ALGORITHM_SAC_EXPERIENCE_H_

#include <cstddef>

#include "absl/status/statusor.h"
#include "algorithm/algorithm.h"
#include "model/tanh_gaussian_policy.h"

namespace headrace {

// The slices of a batch of transitions, in order.
namespace SacSlice {
enum : size_t { kObservation, kAction, kReward, kTerminated, kPolicyVersion };
}

AlgorithmFacts SacFacts();

// Transitions, sampled uniformly. InvalidArgument: an option out of its range, or observations that are not numbers in
// float32 or float64.
absl::StatusOr<Experience> MakeSacExperience(const v1::RunConfig& config, const v1::EnvironmentSpec& environment);

// Sizes of the networks; observations of several dimensions are flattened.
TanhGaussianPolicySpec SacPolicySpec(const v1::RunConfig& config, const v1::EnvironmentSpec& environment);

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_SAC_EXPERIENCE_H_
