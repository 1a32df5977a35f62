#include "algorithm/actor_critic_experience.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "algorithm/annealing.h"
#include "algorithm/unroll_experience.h"
#include "common/status_macros.h"
#include "model/torso.h"

namespace headrace {
namespace {

absl::Status CheckNormalization(bool normalize, const v1::EnvironmentSpec& environment) {
  if (!normalize || environment.observation().data_type() != v1::UINT8) return absl::OkStatus();
  return absl::InvalidArgumentError("normalize_observations: observations are bytes; expected floating-point numbers");
}

absl::Status CheckNetwork(const v1::NetworkOptions& network, const v1::EnvironmentSpec& environment) {
  if (network.lstm() > 0 && !network.shared()) {
    return absl::InvalidArgumentError(
        "network.lstm with network.shared: false: actors would have to record the state of a value that they do not "
        "compute; expected network.shared: true");
  }
  return MakeTorso(network, MakeActorCriticSpec(network, environment).observation).status();
}

}  // namespace

AlgorithmFacts ActorCriticFacts() {
  return {
      .name = "actor_critic",
      .summary =
          "advantage actor-critic with V-trace: IMPALA; with central inference GA3C; with asynchronous gradients A3C",
      .paper =
          "Espeholt et al., IMPALA: Scalable Distributed Deep-RL with Importance Weighted Actor-Learner "
          "Architectures, arXiv:1802.01561",
      .topologies = {v1::QUEUE, v1::CENTRAL_INFERENCE, v1::ASYNCHRONOUS_GRADIENTS},
      .continuous_actions = true,
      .discrete_actions = true,
  };
}

AlgorithmFacts PpoFacts() {
  return {
      .name = "ppo",
      .summary = "proximal policy optimisation; with one epoch and one minibatch A2C",
      .paper = "Schulman et al., Proximal Policy Optimization Algorithms, arXiv:1707.06347",
      .topologies = {v1::SYNCHRONOUS},
      .continuous_actions = true,
      .discrete_actions = true,
  };
}

absl::StatusOr<Experience> MakeActorCriticExperience(const v1::RunConfig& config,
                                                     const v1::EnvironmentSpec& environment) {
  const v1::ActorCriticOptions& options = config.actor_critic();
  RETURN_IF_ERROR(CheckAnnealing("actor_critic.optimizer.anneal", options.optimizer().anneal(), config));
  RETURN_IF_ERROR(CheckNormalization(options.normalize_observations(), environment));
  RETURN_IF_ERROR(CheckNetwork(options.network(), environment));
  if (options.burn_in() > 0 && options.network().lstm() == 0) {
    return absl::InvalidArgumentError(absl::StrCat("actor_critic.burn_in: ", options.burn_in(),
                                                   ", but without network.lstm there is no state to burn in"));
  }
  const RecurrentRows recurrent = {.state_size = StateSize(options.network()), .burn_in = options.burn_in()};
  Experience experience;
  if (config.topology() == v1::ASYNCHRONOUS_GRADIENTS) {
    // Each actor learns from an unroll of each of its environments, where it is.
    ASSIGN_OR_RETURN(experience, MakeRoundExperience(environment, options.unroll_length(), recurrent));
    experience.batch_size = config.actor().environments();
  } else {
    ASSIGN_OR_RETURN(experience, MakeUnrollExperience(environment, options.unroll_length(), recurrent));
    experience.batch_size = options.batch_size();
  }
  experience.observation_moments = options.normalize_observations();
  return experience;
}

absl::StatusOr<Experience> MakePpoExperience(const v1::RunConfig& config, const v1::EnvironmentSpec& environment) {
  const v1::PpoOptions& options = config.ppo();
  if (options.network().lstm() > 0) {
    return absl::InvalidArgumentError(
        "ppo.network.lstm: its minibatches are of single steps, which a recurrent network cannot be run on; expected "
        "0, or the algorithm actor_critic");
  }
  RETURN_IF_ERROR(CheckAnnealing("ppo.optimizer.anneal", options.optimizer().anneal(), config));
  RETURN_IF_ERROR(CheckAnnealing("ppo.anneal_clip", options.anneal_clip(), config));
  RETURN_IF_ERROR(CheckNormalization(options.normalize_observations(), environment));
  RETURN_IF_ERROR(CheckNetwork(options.network(), environment));
  ASSIGN_OR_RETURN(Experience experience, MakeRoundExperience(environment, options.round_steps()));
  experience.batch_size = config.actor().processes() * config.actor().environments();
  const uint64_t steps = uint64_t{experience.batch_size} * options.round_steps();
  if (steps % options.minibatches() != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "ppo.minibatches: %d, into which the %d steps of a round (actor.processes x actor.environments x "
        "ppo.round_steps: %d x %d x %d) cannot be divided evenly; expected a divisor of them",
        options.minibatches(), steps, config.actor().processes(), config.actor().environments(),
        options.round_steps()));
  }
  experience.observation_moments = options.normalize_observations();
  if (options.normalize_rewards()) experience.return_discount = options.discount();
  return experience;
}

ActorCriticSpec MakeActorCriticSpec(const v1::NetworkOptions& network, const v1::EnvironmentSpec& environment) {
  ActorCriticSpec spec;
  spec.network = network;
  for (const uint32_t size : environment.observation().shape()) spec.observation.push_back(size);
  spec.continuous = environment.discrete_actions() == 0;
  spec.actions = environment.discrete_actions();
  if (spec.continuous) {
    spec.actions = 1;
    for (const uint32_t size : environment.action().shape()) spec.actions *= size;
  }
  return spec;
}

}  // namespace headrace
