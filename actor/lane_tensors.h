// What all lanes observe and do, as the policy and replay want it.
#ifndef HEADRACE_ACTOR_LANE_TENSORS_H_
#define HEADRACE_ACTOR_LANE_TENSORS_H_

#include <span>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "actor/env/environment.h"
#include "actor/env/vector_environment.h"
#include "proto/column.pb.h"

namespace headrace {

// A tensor [lanes, shape...] of the type of the signature's column observation. InvalidArgument: there is none, or
// environments' observations of that type cannot be recorded in it.
absl::StatusOr<at::Tensor> MakeObservationTensor(const ArraySpec& native, const v1::Signature& signature,
                                                 int64_t lanes);

// Zeros, as episodes begin with: [lanes, shape...] of the signature's column recurrent_state; undefined: it has none.
at::Tensor MakeRecurrentStateTensor(const v1::Signature& signature, int64_t lanes);

// Converts [lanes, native] bytes into the tensor. float64 becomes float32; everything else is copied.
void CopyObservations(std::span<const std::byte> native, v1::DataType native_type, at::Tensor& tensor);

// Zeros: [lanes, dimensions] float32, or [lanes] int32 where actions are discrete.
at::Tensor MakeActionTensor(const ActionSpec& spec, int64_t lanes);

// Steps every lane. Internal: an environment cannot be reset any more, or the policy chose what is no action, as it
// does when its weights have diverged.
absl::Status StepLanes(const at::Tensor& actions, VectorEnvironment& lanes);

}  // namespace headrace

#endif  // HEADRACE_ACTOR_LANE_TENSORS_H_
