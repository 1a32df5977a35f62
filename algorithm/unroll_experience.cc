#include "algorithm/unroll_experience.h"

#include <string>
#include <utility>

#include "ATen/TensorOperators.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

absl::StatusOr<Experience> MakeExperienceOfRows(const v1::EnvironmentSpec& environment, uint32_t rows,
                                                const RecurrentRows& recurrent) {
  v1::DataType observed = environment.observation().data_type();
  if (observed == v1::FLOAT64) observed = v1::FLOAT32;
  if (observed != v1::FLOAT32 && observed != v1::UINT8) {
    return absl::InvalidArgumentError(
        absl::StrCat("environment.name: expected observations of type FLOAT32, FLOAT64 or UINT8, but those of ",
                     environment.name(), " are ", v1::DataType_Name(observed)));
  }
  Experience experience;
  experience.item_rows = recurrent.burn_in + rows;
  experience.queue = true;
  experience.span_episodes = true;
  experience.sampler = v1::FIRST_IN_FIRST_OUT;
  experience.max_times_sampled = 1;
  const auto add_column = [&](const std::string& name, v1::DataType type, v1::Column column) {
    column.set_name(name);
    column.set_data_type(type);
    *experience.signature.add_columns() = std::move(column);
  };
  const auto add_slice = [&](const std::string& name, uint32_t first_row, uint32_t slice_rows) {
    v1::ColumnSlice& slice = experience.slices.emplace_back();
    slice.set_column(name);
    slice.set_first_row(first_row);
    slice.set_rows(slice_rows);
  };
  const auto add = [&](const std::string& name, v1::DataType type, v1::Column column) {
    add_column(name, type, std::move(column));
    add_slice(name, recurrent.burn_in, rows);
  };
  const bool discrete = environment.discrete_actions() > 0;
  add("observation", observed, environment.observation());
  add("action", discrete ? v1::INT32 : v1::FLOAT32, discrete ? v1::Column() : environment.action());
  add("reward", v1::FLOAT32, {});
  add("terminated", v1::UINT8, {});
  add("observation_only", v1::UINT8, {});
  add("behaviour_log_prob", v1::FLOAT32, {});
  add("policy_version", v1::INT64, {});
  if (recurrent.state_size == 0) return experience;
  v1::Column state;
  state.add_shape(static_cast<uint32_t>(recurrent.state_size));
  add_column("recurrent_state", v1::FLOAT32, std::move(state));
  add_slice("recurrent_state", 0, 1);
  if (recurrent.burn_in == 0) return experience;
  add_slice("observation", 0, recurrent.burn_in);
  add_slice("observation_only", 0, recurrent.burn_in);
  return experience;
}

}  // namespace

absl::StatusOr<Experience> MakeUnrollExperience(const v1::EnvironmentSpec& environment, uint32_t length,
                                                const RecurrentRows& recurrent) {
  ASSIGN_OR_RETURN(Experience experience, MakeExperienceOfRows(environment, length + 1, recurrent));
  experience.item_stride = length;
  return experience;
}

absl::StatusOr<Experience> MakeRoundExperience(const v1::EnvironmentSpec& environment, uint32_t steps,
                                               const RecurrentRows& recurrent) {
  if (recurrent.burn_in > 0) {
    return absl::InvalidArgumentError("burn_in: rows before an unroll, but rounds begin where the last one ended");
  }
  ASSIGN_OR_RETURN(Experience experience, MakeExperienceOfRows(environment, 2 * steps + 1, recurrent));
  experience.item_stride = steps + 1;  // and one for each episode that ends
  experience.least_item_rows = steps + 1;
  experience.round_steps = steps;
  return experience;
}

UnrollTensors MakeUnrollTensors(const Batch& batch, double discount, double reward_scale, double reward_clip) {
  UnrollTensors unroll;
  unroll.reward = batch.slices[UnrollSlice::kReward] * reward_scale;
  if (reward_clip > 0) unroll.reward.clamp_(-reward_clip, reward_clip);
  unroll.discount = (1 - batch.slices[UnrollSlice::kTerminated].to(at::kFloat)) * discount;
  unroll.is_step = 1 - batch.slices[UnrollSlice::kObservationOnly].to(at::kFloat);
  unroll.is_step.select(1, unroll.is_step.size(1) - 1).zero_();
  return unroll;
}

}  // namespace headrace
