// What can be known of soft actor-critic without building it: its facts, the experience it asks for, its sizes.
#ifndef HEADRACE_ALGORITHM_SAC_EXPERIENCE_H_
#define HEADRACE_ALGORITHM_SAC_EXPERIENCE_H_

#include "absl/status/statusor.h"
#include "algorithm/algorithm.h"
#include "model/tanh_gaussian_policy.h"

namespace headrace {

AlgorithmFacts SacFacts();

// Transitions. InvalidArgument: observations that are no floating-point numbers.
absl::StatusOr<Experience> MakeSacExperience(const v1::RunConfig& config, const v1::EnvironmentSpec& environment);

TanhGaussianPolicySpec SacPolicySpec(const v1::RunConfig& config, const v1::EnvironmentSpec& environment);

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_SAC_EXPERIENCE_H_
