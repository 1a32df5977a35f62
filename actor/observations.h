// Observations of all lanes as the policy and replay want them: in the type of the column they are recorded in.
#ifndef HEADRACE_ACTOR_OBSERVATIONS_H_
#define HEADRACE_ACTOR_OBSERVATIONS_H_

#include <span>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "actor/env/environment.h"
#include "proto/column.pb.h"

namespace headrace {

// A tensor [lanes, shape...] of the column's type. InvalidArgument: environments' observations of that type cannot be
// recorded in such a column.
absl::StatusOr<at::Tensor> MakeObservationTensor(const ArraySpec& native, const v1::Column& column, int64_t lanes);

// Converts [lanes, native] bytes into the tensor. float64 becomes float32; everything else is copied.
void CopyObservations(std::span<const std::byte> native, v1::DataType native_type, at::Tensor& tensor);

}  // namespace headrace

#endif  // HEADRACE_ACTOR_OBSERVATIONS_H_
