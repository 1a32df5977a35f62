#include "algorithm/unroll_experience.h"

#include <utility>

#include "ATen/TensorOperators.h"
#include "algorithm/recorded_columns.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

absl::StatusOr<Experience> MakeExperienceOfRows(const v1::EnvironmentSpec& environment, uint32_t rows,
                                                const RecurrentRows& recurrent) {
  ASSIGN_OR_RETURN(const v1::Column observation, SeenObservation(environment));
  Experience experience;
  experience.item_rows = recurrent.burn_in + rows;
  experience.queue = true;
  experience.span_episodes = true;
  experience.sampler = v1::FIRST_IN_FIRST_OUT;
  experience.max_times_sampled = 1;
  const auto add_slice = [&](const std::string& name, uint32_t first_row, uint32_t slice_rows) {
    v1::ColumnSlice& slice = experience.slices.emplace_back();
    slice.set_column(name);
    slice.set_first_row(first_row);
    slice.set_rows(slice_rows);
  };
  const auto add = [&](const v1::Column& column) {
    *experience.signature.add_columns() = column;
    add_slice(column.name(), recurrent.burn_in, rows);
  };
  add(observation);
  add(RecordedAction(environment));
  add(RecordedNumber("reward", v1::FLOAT32));
  add(RecordedNumber("terminated", v1::UINT8));
  add(RecordedNumber("observation_only", v1::UINT8));
  add(RecordedNumber("behaviour_log_prob", v1::FLOAT32));
  add(RecordedNumber("policy_version", v1::INT64));
  if (recurrent.state_size == 0) return experience;
  v1::Column state = RecordedNumber("recurrent_state", v1::FLOAT32);
  state.add_shape(static_cast<uint32_t>(recurrent.state_size));
  *experience.signature.add_columns() = std::move(state);
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
  // What an environment that broke down did in a step is not recorded; at worst only the next observation is.
  experience.least_item_rows = 1;
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
