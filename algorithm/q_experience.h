// What algorithms that learn the values of discrete actions have in common: how they explore, and how their sizes
// follow from configuration and environment.
#ifndef HEADRACE_ALGORITHM_Q_EXPERIENCE_H_
#define HEADRACE_ALGORITHM_Q_EXPERIENCE_H_

#include "absl/status/statusor.h"
#include "algorithm/algorithm.h"
#include "model/q_network.h"
#include "proto/algorithm/network.pb.h"
#include "proto/algorithm/q_values.pb.h"

namespace headrace {

AlgorithmFacts DqnFacts();
AlgorithmFacts QLearningFacts();

// Transitions of the one, unrolls or rounds of the other. InvalidArgument: observations or an option that do not fit.
absl::StatusOr<Experience> MakeDqnExperience(const v1::RunConfig& config, const v1::EnvironmentSpec& environment);
absl::StatusOr<Experience> MakeQLearningExperience(const v1::RunConfig& config, const v1::EnvironmentSpec& environment);

// With the algorithm's last values of epsilon where none are given.
v1::EpsilonGreedyOptions DqnExploration(const v1::RunConfig& config);
v1::EpsilonGreedyOptions QLearningExploration(const v1::RunConfig& config);

QNetworkSpec MakeQNetworkSpec(const v1::NetworkOptions& network, const v1::EnvironmentSpec& environment);

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_Q_EXPERIENCE_H_
