#include "algorithm/unroll_experience.h"

#include <utility>

#include "ATen/TensorOperators.h"
#include "algorithm/recorded_columns.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

absl::StatusOr<Experience> MakeExperienceOfRows(const v1::EnvironmentSpec& environment, uint32_t rows) {
  ASSIGN_OR_RETURN(v1::Column observation, RecordedObservation(environment));
  Experience experience;
  experience.item_rows = rows;
  experience.queue = true;
  experience.span_episodes = true;
  experience.sampler = v1::FIRST_IN_FIRST_OUT;
  experience.max_times_sampled = 1;
  const auto add = [&](v1::Column column) {
    v1::ColumnSlice& slice = experience.slices.emplace_back();
    slice.set_column(column.name());
    slice.set_rows(rows);
    *experience.signature.add_columns() = std::move(column);
  };
  add(std::move(observation));
  add(RecordedAction(environment));
  add(RecordedNumber("reward", v1::FLOAT32));
  add(RecordedNumber("terminated", v1::UINT8));
  add(RecordedNumber("observation_only", v1::UINT8));
  add(RecordedNumber("behaviour_log_prob", v1::FLOAT32));
  add(RecordedNumber("policy_version", v1::INT64));
  return experience;
}

}  // namespace

absl::StatusOr<Experience> MakeUnrollExperience(const v1::EnvironmentSpec& environment, uint32_t length) {
  ASSIGN_OR_RETURN(Experience experience, MakeExperienceOfRows(environment, length + 1));
  experience.item_stride = length;
  return experience;
}

absl::StatusOr<Experience> MakeRoundExperience(const v1::EnvironmentSpec& environment, uint32_t steps) {
  ASSIGN_OR_RETURN(Experience experience, MakeExperienceOfRows(environment, 2 * steps + 1));
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
