#include "algorithm/recorded_columns.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace headrace {

absl::StatusOr<v1::Column> SeenObservation(const v1::EnvironmentSpec& environment) {
  v1::Column column = environment.observation();
  column.set_name("observation");
  if (column.data_type() == v1::FLOAT64) column.set_data_type(v1::FLOAT32);
  if (column.data_type() == v1::FLOAT32 || column.data_type() == v1::UINT8) return column;
  return absl::InvalidArgumentError(
      absl::StrCat("environment.name: expected observations of type FLOAT32, FLOAT64 or UINT8, but those of ",
                   environment.name(), " are ", v1::DataType_Name(column.data_type())));
}

v1::Column RecordedAction(const v1::EnvironmentSpec& environment) {
  if (environment.discrete_actions() > 0) return RecordedNumber("action", v1::INT32);
  v1::Column column = environment.action();
  column.set_name("action");
  column.set_data_type(v1::FLOAT32);
  return column;
}

v1::Column RecordedNumber(const std::string& name, v1::DataType type) {
  v1::Column column;
  column.set_name(name);
  column.set_data_type(type);
  return column;
}

}  // namespace headrace
