// As what actors record observations and actions, and learners sample them.
#ifndef HEADRACE_ALGORITHM_RECORDED_COLUMNS_H_
#define HEADRACE_ALGORITHM_RECORDED_COLUMNS_H_

#include <string>

#include "absl/status/statusor.h"
#include "proto/column.pb.h"
#include "proto/run.pb.h"

namespace headrace {

// Column observation as policies see it: bytes as bytes, numbers in float32. InvalidArgument: observations are neither
// numbers in float32 or float64 nor bytes.
absl::StatusOr<v1::Column> SeenObservation(const v1::EnvironmentSpec& environment);

// Column action: in float32, or the number of a discrete one in int32.
v1::Column RecordedAction(const v1::EnvironmentSpec& environment);

// A column of one number a row.
v1::Column RecordedNumber(const std::string& name, v1::DataType type);

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_RECORDED_COLUMNS_H_
