#include "algorithm/sac_experience.h"

#include <cstdint>

#include "algorithm/option_range.h"
#include "algorithm/transition_experience.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

// Far above what anybody has used, and low enough that networks and buffers of that size can be made.
constexpr double kMostUnits = 1 << 13;
constexpr double kMostTransitions = 1 << 16;

absl::Status CheckOptions(const v1::SacOptions& options) {
  for (const uint32_t units : options.hidden()) RETURN_IF_ERROR(CheckCount("sac.hidden", units, kMostUnits));
  RETURN_IF_ERROR(CheckCount("sac.batch_size", options.batch_size(), kMostTransitions));
  RETURN_IF_ERROR(CheckFraction("sac.discount", options.discount()));
  RETURN_IF_ERROR(CheckFraction("sac.tau", options.tau()));
  RETURN_IF_ERROR(CheckPositive("sac.actor_learning_rate", options.actor_learning_rate()));
  RETURN_IF_ERROR(CheckPositive("sac.critic_learning_rate", options.critic_learning_rate()));
  RETURN_IF_ERROR(CheckPositive("sac.temperature_learning_rate", options.temperature_learning_rate()));
  RETURN_IF_ERROR(CheckPositive("sac.initial_temperature", options.initial_temperature()));
  RETURN_IF_ERROR(CheckFinite("sac.target_entropy", options.target_entropy()));
  RETURN_IF_ERROR(CheckPositive("sac.reward_scale", options.reward_scale()));
  return CheckPositive("sac.updates_per_step", options.updates_per_step());
}

}  // namespace

AlgorithmFacts SacFacts() {
  return {
      .name = "sac",
      .summary = "soft actor-critic with twin critics and automatic temperature",
      .paper = "Haarnoja et al., Soft Actor-Critic Algorithms and Applications, arXiv:1812.05905",
      .topologies = {v1::REPLAY},
      .continuous_actions = true,
  };
}

absl::StatusOr<Experience> MakeSacExperience(const v1::RunConfig& config, const v1::EnvironmentSpec& environment) {
  const v1::SacOptions& options = config.sac();
  RETURN_IF_ERROR(CheckOptions(options));
  ASSIGN_OR_RETURN(Experience experience, MakeTransitionExperience(environment));
  experience.batch_size = options.batch_size();
  experience.updates_per_step = options.updates_per_step();
  experience.random_steps = options.random_steps();
  experience.observation_moments = options.normalize_observations();
  return experience;
}

TanhGaussianPolicySpec SacPolicySpec(const v1::RunConfig& config, const v1::EnvironmentSpec& environment) {
  TanhGaussianPolicySpec spec = {.observation = ElementsOf(environment.observation()),
                                 .action = ElementsOf(environment.action()),
                                 .hidden = {config.sac().hidden().begin(), config.sac().hidden().end()}};
  if (spec.hidden.empty()) spec.hidden = {256, 256};
  return spec;
}

}  // namespace headrace
