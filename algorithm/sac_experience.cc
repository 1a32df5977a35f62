#include "algorithm/sac_experience.h"

#include "absl/strings/str_cat.h"
#include "algorithm/prioritized_experience.h"
#include "algorithm/transition_experience.h"
#include "common/status_macros.h"

namespace headrace {

AlgorithmFacts SacFacts() {
  return {
      .name = "sac",
      .summary = "soft actor-critic with twin critics and automatic temperature",
      .paper = "Haarnoja et al., Soft Actor-Critic Algorithms and Applications, arXiv:1812.05905",
      .topologies = {v1::REPLAY, v1::CENTRAL_INFERENCE},
      .continuous_actions = true,
  };
}

absl::StatusOr<Experience> MakeSacExperience(const v1::RunConfig& config, const v1::EnvironmentSpec& environment) {
  const v1::SacOptions& options = config.sac();
  if (environment.observation().data_type() == v1::UINT8) {
    return absl::InvalidArgumentError(
        absl::StrCat("environment.name: sac expects observations that are floating-point numbers, but those of ",
                     environment.name(), " are bytes"));
  }
  ASSIGN_OR_RETURN(Experience experience, MakeTransitionExperience(environment, options.n_step()));
  experience.batch_size = options.batch_size();
  experience.updates_per_step = options.updates_per_step();
  experience.random_steps = options.random_steps();
  experience.observation_moments = options.normalize_observations();
  Prioritize(options.prioritized_replay(), experience);
  return experience;
}

TanhGaussianPolicySpec SacPolicySpec(const v1::RunConfig& config, const v1::EnvironmentSpec& environment) {
  return {.observation = ElementsOf(environment.observation()),
          .action = ElementsOf(environment.action()),
          .hidden = {config.sac().hidden().begin(), config.sac().hidden().end()}};
}

}  // namespace headrace
