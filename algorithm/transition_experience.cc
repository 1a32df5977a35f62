#include "algorithm/transition_experience.h"

#include <utility>

#include "algorithm/recorded_columns.h"
#include "common/status_macros.h"

namespace headrace {

absl::StatusOr<Experience> MakeTransitionExperience(const v1::EnvironmentSpec& environment, uint32_t steps) {
  ASSIGN_OR_RETURN(v1::Column observation, SeenObservation(environment));
  Experience experience;
  experience.item_rows = steps + 1;
  if (steps > 1) experience.least_item_rows = 2;
  const auto add = [&](v1::Column column, uint32_t rows, uint32_t stride = 0) {
    v1::ColumnSlice& slice = experience.slices.emplace_back();
    slice.set_column(column.name());
    slice.set_rows(rows);
    slice.set_stride(stride);
    *experience.signature.add_columns() = std::move(column);
  };
  add(std::move(observation), 2, steps);
  add(RecordedAction(environment), 1);
  add(RecordedNumber("reward", v1::FLOAT32), steps);
  add(RecordedNumber("terminated", v1::UINT8), steps);
  add(RecordedNumber("policy_version", v1::INT64), 1);
  return experience;
}

int64_t ElementsOf(const v1::Column& column) {
  int64_t elements = 1;
  for (const uint32_t size : column.shape()) elements *= size;
  return elements;
}

}  // namespace headrace
