// The list of algorithms: one line each in registry.cc.
#ifndef HEADRACE_ALGORITHM_REGISTRY_H_
#define HEADRACE_ALGORITHM_REGISTRY_H_

#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "algorithm/algorithm.h"

namespace headrace {

const std::vector<AlgorithmFacts>& AllAlgorithms();

// The algorithm that `config` names. InvalidArgument: none or not a known one.
absl::StatusOr<AlgorithmFacts> FactsOf(const v1::RunConfig& config);

// Refuses by name what does not fit: topology, kind of actions.
absl::Status CheckFits(const v1::RunConfig& config, const v1::EnvironmentSpec& environment);

// What the algorithm asks for on this environment. InvalidArgument: an option that does not fit it, or the topology, or
// a run in lockstep.
absl::StatusOr<Experience> MakeExperience(const v1::RunConfig& config, const v1::EnvironmentSpec& environment);

// device: "cpu", "cuda", "cuda:N". InvalidArgument or Unavailable (no such device here).
absl::StatusOr<std::unique_ptr<Algorithm>> MakeAlgorithm(const v1::RunConfig& config,
                                                         const v1::EnvironmentSpec& environment);
absl::StatusOr<std::unique_ptr<Policy>> MakePolicy(const v1::RunConfig& config, const v1::EnvironmentSpec& environment);

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_REGISTRY_H_
