#include "algorithm/transition_experience.h"

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace headrace {
namespace {

// A column of this name and type and of `column`'s shape, and a slice of its first rows.
void AddColumn(const std::string& name, v1::DataType type, uint32_t rows, v1::Column column, Experience& experience) {
  column.set_name(name);
  column.set_data_type(type);
  *experience.signature.add_columns() = std::move(column);
  v1::ColumnSlice slice;
  slice.set_column(name);
  slice.set_rows(rows);
  experience.slices.push_back(std::move(slice));
}

}  // namespace

absl::StatusOr<Experience> MakeTransitionExperience(const v1::EnvironmentSpec& environment, uint32_t steps) {
  const v1::DataType observed = environment.observation().data_type();
  if (observed != v1::FLOAT32 && observed != v1::FLOAT64) {
    return absl::InvalidArgumentError(
        absl::StrCat("environment.name: expected observations of type FLOAT32 or FLOAT64, but those of ",
                     environment.name(), " are ", v1::DataType_Name(observed)));
  }
  Experience experience;
  experience.item_rows = steps + 1;
  if (steps > 1) experience.least_item_rows = 2;
  AddColumn("observation", v1::FLOAT32, 2, environment.observation(), experience);
  experience.slices.back().set_stride(steps);
  AddColumn("action", v1::FLOAT32, 1, environment.action(), experience);
  AddColumn("reward", v1::FLOAT32, steps, {}, experience);
  AddColumn("terminated", v1::UINT8, steps, {}, experience);
  AddColumn("policy_version", v1::INT64, 1, {}, experience);
  return experience;
}

int64_t ElementsOf(const v1::Column& column) {
  int64_t elements = 1;
  for (const uint32_t size : column.shape()) elements *= size;
  return elements;
}

}  // namespace headrace
