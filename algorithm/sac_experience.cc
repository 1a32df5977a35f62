#include "algorithm/sac_experience.h"

#include <cmath>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

absl::Status CheckOption(bool valid, const char* name, const char* range, double value) {
  if (valid) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("sac.", name, ": expected ", range, ", got ", value));
}

// A comparison with a number that is not one is false, so these also refuse NaN.
absl::Status CheckPositive(const char* name, double value) {
  return CheckOption(value > 0 && std::isfinite(value), name, "a number above 0", value);
}

absl::Status CheckOptions(const v1::SacOptions& options) {
  for (const uint32_t units : options.hidden()) RETURN_IF_ERROR(CheckPositive("hidden", units));
  RETURN_IF_ERROR(CheckPositive("batch_size", options.batch_size()));
  RETURN_IF_ERROR(CheckOption(options.discount() >= 0 && options.discount() <= 1, "discount", "a number in [0, 1]",
                              options.discount()));
  RETURN_IF_ERROR(CheckOption(options.tau() > 0 && options.tau() <= 1, "tau", "a number in (0, 1]", options.tau()));
  RETURN_IF_ERROR(CheckPositive("actor_learning_rate", options.actor_learning_rate()));
  RETURN_IF_ERROR(CheckPositive("critic_learning_rate", options.critic_learning_rate()));
  RETURN_IF_ERROR(CheckPositive("temperature_learning_rate", options.temperature_learning_rate()));
  RETURN_IF_ERROR(CheckPositive("initial_temperature", options.initial_temperature()));
  RETURN_IF_ERROR(CheckOption(std::isfinite(options.target_entropy()), "target_entropy", "a finite number",
                              options.target_entropy()));
  RETURN_IF_ERROR(CheckPositive("reward_scale", options.reward_scale()));
  return CheckPositive("updates_per_step", options.updates_per_step());
}

void AddColumn(const std::string& name, v1::DataType type, uint32_t rows, Experience& experience, v1::Column column) {
  column.set_name(name);
  column.set_data_type(type);
  *experience.signature.add_columns() = std::move(column);
  v1::ColumnSlice slice;
  slice.set_column(name);
  slice.set_rows(rows);
  experience.slices.push_back(std::move(slice));
}

int64_t Elements(const v1::Column& column) {
  int64_t elements = 1;
  for (const uint32_t size : column.shape()) elements *= size;
  return elements;
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
  const v1::DataType observed = environment.observation().data_type();
  if (observed != v1::FLOAT32 && observed != v1::FLOAT64) {
    return absl::InvalidArgumentError(
        absl::StrCat("sac: expected observations of type FLOAT32 or FLOAT64, but those of ", environment.name(),
                     " are ", v1::DataType_Name(observed)));
  }
  Experience experience;
  AddColumn("observation", v1::FLOAT32, 2, experience, environment.observation());
  AddColumn("action", v1::FLOAT32, 1, experience, environment.action());
  AddColumn("reward", v1::FLOAT32, 1, experience, {});
  AddColumn("terminated", v1::UINT8, 1, experience, {});
  AddColumn("policy_version", v1::INT64, 1, experience, {});
  experience.batch_size = options.batch_size();
  experience.updates_per_step = options.updates_per_step();
  experience.random_steps = options.random_steps();
  experience.observation_moments = options.normalize_observations();
  experience.observation_moments = options.normalize_observations();
  return experience;
}

TanhGaussianPolicySpec SacPolicySpec(const v1::RunConfig& config, const v1::EnvironmentSpec& environment) {
  TanhGaussianPolicySpec spec = {.observation = Elements(environment.observation()),
                                 .action = Elements(environment.action()),
                                 .hidden = {config.sac().hidden().begin(), config.sac().hidden().end()}};
  if (spec.hidden.empty()) spec.hidden = {256, 256};
  return spec;
}

}  // namespace headrace
