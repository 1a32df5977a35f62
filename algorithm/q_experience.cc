#include "algorithm/q_experience.h"

#include <utility>

#include "absl/strings/str_format.h"
#include "algorithm/annealing.h"
#include "algorithm/epsilon_greedy.h"
#include "algorithm/prioritized_experience.h"
#include "algorithm/transition_experience.h"
#include "algorithm/unroll_experience.h"
#include "common/status_macros.h"
#include "model/torso.h"

namespace headrace {
namespace {

absl::Status CheckNetwork(const v1::NetworkOptions& network, const v1::EnvironmentSpec& environment) {
  if (network.lstm() > 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "network.lstm: %d, but networks of action values are not recurrent; expected 0", network.lstm()));
  }
  return MakeTorso(network, MakeQNetworkSpec(network, environment).observation).status();
}

}  // namespace

AlgorithmFacts DqnFacts() {
  return {
      .name = "dqn",
      .summary = "deep Q-networks, double, over n steps and with prioritised replay as options",
      .paper = "Mnih et al., Human-level control through deep reinforcement learning, 2015",
      .topologies = {v1::REPLAY, v1::CENTRAL_INFERENCE},
      .discrete_actions = true,
  };
}

AlgorithmFacts QLearningFacts() {
  return {
      .name = "q_learning",
      .summary = "Q-learning and Sarsa over one step or n, each step used once, with a target network",
      .paper = "Mnih et al., Asynchronous Methods for Deep Reinforcement Learning, arXiv:1602.01783",
      .topologies = {v1::QUEUE, v1::SYNCHRONOUS, v1::ASYNCHRONOUS_GRADIENTS},
      .discrete_actions = true,
  };
}

absl::StatusOr<Experience> MakeDqnExperience(const v1::RunConfig& config, const v1::EnvironmentSpec& environment) {
  const v1::DqnOptions& options = config.dqn();
  RETURN_IF_ERROR(CheckExploration(DqnExploration(config), config));
  RETURN_IF_ERROR(CheckAnnealing("dqn.optimizer.anneal", options.optimizer().anneal(), config));
  RETURN_IF_ERROR(CheckNetwork(options.network(), environment));
  ASSIGN_OR_RETURN(Experience experience, MakeTransitionExperience(environment, options.n_step()));
  experience.batch_size = options.batch_size();
  experience.updates_per_step = options.updates_per_step();
  Prioritize(options.prioritized_replay(), experience);
  return experience;
}

absl::StatusOr<Experience> MakeQLearningExperience(const v1::RunConfig& config,
                                                   const v1::EnvironmentSpec& environment) {
  const v1::QLearningOptions& options = config.q_learning();
  RETURN_IF_ERROR(CheckExploration(QLearningExploration(config), config));
  RETURN_IF_ERROR(CheckAnnealing("q_learning.optimizer.anneal", options.optimizer().anneal(), config));
  RETURN_IF_ERROR(CheckNetwork(options.network(), environment));
  if (config.topology() == v1::QUEUE) {
    ASSIGN_OR_RETURN(Experience experience, MakeUnrollExperience(environment, options.unroll_length()));
    experience.batch_size = options.batch_size();
    return experience;
  }
  // A batch is a round: of all actors, or of the one that learns from it.
  ASSIGN_OR_RETURN(Experience experience, MakeRoundExperience(environment, options.unroll_length()));
  experience.batch_size = config.actor().environments();
  if (config.topology() == v1::SYNCHRONOUS) experience.batch_size *= config.actor().processes();
  return experience;
}

v1::EpsilonGreedyOptions DqnExploration(const v1::RunConfig& config) {
  v1::EpsilonGreedyOptions exploration = config.dqn().exploration();
  if (exploration.end().empty()) exploration.add_end(0.05);
  return exploration;
}

v1::EpsilonGreedyOptions QLearningExploration(const v1::RunConfig& config) {
  v1::EpsilonGreedyOptions exploration = config.q_learning().exploration();
  if (!exploration.end().empty()) return exploration;
  for (const auto& [end, probability] : {std::pair{0.1, 0.4}, {0.01, 0.3}, {0.5, 0.3}}) {
    exploration.add_end(end);
    exploration.add_end_probability(probability);
  }
  return exploration;
}

QNetworkSpec MakeQNetworkSpec(const v1::NetworkOptions& network, const v1::EnvironmentSpec& environment) {
  const auto& shape = environment.observation().shape();
  return {.network = network,
          .observation = {shape.begin(), shape.end()},
          .actions = static_cast<int64_t>(environment.discrete_actions())};
}

}  // namespace headrace
