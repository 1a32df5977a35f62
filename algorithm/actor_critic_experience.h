// What actor-critic algorithms with a stochastic policy have in common: how they act, and how their sizes follow from
// configuration and environment.
#ifndef HEADRACE_ALGORITHM_ACTOR_CRITIC_EXPERIENCE_H_
#define HEADRACE_ALGORITHM_ACTOR_CRITIC_EXPERIENCE_H_

#include "absl/status/statusor.h"
#include "algorithm/algorithm.h"
#include "model/actor_critic_network.h"
#include "proto/algorithm/network.pb.h"
#include "proto/algorithm/optimizer.pb.h"

namespace headrace {

AlgorithmFacts ActorCriticFacts();
AlgorithmFacts PpoFacts();

// InvalidArgument: observations or an option that do not fit.
absl::StatusOr<Experience> MakeActorCriticExperience(const v1::RunConfig& config,
                                                     const v1::EnvironmentSpec& environment);
absl::StatusOr<Experience> MakePpoExperience(const v1::RunConfig& config, const v1::EnvironmentSpec& environment);

ActorCriticSpec MakeActorCriticSpec(const v1::NetworkOptions& network, const v1::EnvironmentSpec& environment);

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_ACTOR_CRITIC_EXPERIENCE_H_
