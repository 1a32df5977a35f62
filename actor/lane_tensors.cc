#include "actor/lane_tensors.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "ATen/ops/zeros.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace headrace {

absl::StatusOr<at::Tensor> MakeObservationTensor(const ArraySpec& native, const v1::Signature& signature,
                                                 int64_t lanes) {
  const auto column = std::find_if(signature.columns().begin(), signature.columns().end(),
                                   [](const v1::Column& candidate) { return candidate.name() == "observation"; });
  if (column == signature.columns().end()) {
    return absl::InvalidArgumentError("the algorithm's signature has no column observation");
  }
  const bool narrowed = native.data_type == v1::FLOAT64 && column->data_type() == v1::FLOAT32;
  if (native.data_type != column->data_type() && !narrowed) {
    return absl::InvalidArgumentError(absl::StrFormat("observations are %s and cannot be recorded as %s",
                                                      v1::DataType_Name(native.data_type),
                                                      v1::DataType_Name(column->data_type())));
  }
  at::ScalarType type = at::kFloat;
  switch (column->data_type()) {
    case v1::FLOAT32:
      break;
    case v1::FLOAT64:
      type = at::kDouble;
      break;
    case v1::UINT8:
      type = at::kByte;
      break;
    default:
      return absl::InvalidArgumentError(absl::StrFormat(
          "expected observations of type FLOAT32, FLOAT64 or UINT8, got %s", v1::DataType_Name(column->data_type())));
  }
  std::vector<int64_t> shape = {lanes};
  shape.insert(shape.end(), native.shape.begin(), native.shape.end());
  return at::zeros(shape, at::TensorOptions().dtype(type));
}

at::Tensor MakeRecurrentStateTensor(const v1::Signature& signature, int64_t lanes) {
  for (const v1::Column& column : signature.columns()) {
    if (column.name() != "recurrent_state") continue;
    std::vector<int64_t> shape = {lanes};
    shape.insert(shape.end(), column.shape().begin(), column.shape().end());
    return at::zeros(shape, at::kFloat);
  }
  return {};
}

void CopyObservations(std::span<const std::byte> native, v1::DataType native_type, at::Tensor& tensor) {
  if (native_type == v1::FLOAT64 && tensor.scalar_type() == at::kFloat) {
    const double* const from = reinterpret_cast<const double*>(native.data());
    float* const to = tensor.data_ptr<float>();
    for (int64_t i = 0; i < tensor.numel(); ++i) to[i] = static_cast<float>(from[i]);
  } else {
    std::memcpy(tensor.data_ptr(), native.data(), native.size());
  }
}

at::Tensor MakeActionTensor(const ActionSpec& spec, int64_t lanes) {
  if (!spec.continuous()) return at::zeros({lanes}, at::kInt);
  return at::zeros({lanes, static_cast<int64_t>(spec.dimensions())}, at::kFloat);
}

absl::Status StepLanes(const at::Tensor& actions, VectorEnvironment& lanes) {
  const size_t count = static_cast<size_t>(actions.numel());
  const absl::Status status = lanes.facts().action.continuous()
                                  ? lanes.Step(std::span<const float>(actions.const_data_ptr<float>(), count))
                                  : lanes.Step(std::span<const int32_t>(actions.const_data_ptr<int32_t>(), count));
  if (!absl::IsInvalidArgument(status)) return status;
  return absl::InternalError(
      absl::StrCat("the policy chose what is no action, its weights may have diverged: ", status.message()));
}

}  // namespace headrace
