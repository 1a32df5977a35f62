#include "model/weights.h"

#include <cstring>
#include <exception>
#include <optional>
#include <utility>

#include "ATen/ops/empty.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/safetensors.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

constexpr std::pair<at::ScalarType, SafetensorsType> kTypes[] = {
    {at::kBool, SafetensorsType::kBool},    {at::kByte, SafetensorsType::kU8},   {at::kInt, SafetensorsType::kI32},
    {at::kLong, SafetensorsType::kI64},     {at::kFloat, SafetensorsType::kF32}, {at::kDouble, SafetensorsType::kF64},
    {at::kBFloat16, SafetensorsType::kBf16}};

std::optional<SafetensorsType> TypeOf(const at::Tensor& tensor) {
  for (const auto& [scalar_type, type] : kTypes) {
    if (tensor.scalar_type() == scalar_type) return type;
  }
  return std::nullopt;
}

std::vector<uint64_t> ShapeOf(const at::Tensor& tensor) { return {tensor.sizes().begin(), tensor.sizes().end()}; }

std::string Describe(SafetensorsType type, const std::vector<uint64_t>& shape) {
  return absl::StrCat(TypeName(type), " [", absl::StrJoin(shape, ", "), "]");
}

// What LibTorch throws, such as a lost device, ends here.
template <typename Function>
auto CatchExceptions(const Function& function) -> decltype(function()) {
  try {
    return function();
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("tensors could not be copied: ", error.what()));
  }
}

absl::Status CheckFits(const SafetensorsContents& contents, const std::vector<NamedTensor>& tensors,
                       const std::set<std::string_view>& unused) {
  std::map<std::string_view, const NamedTensor*> expected;
  for (const NamedTensor& named : tensors) {
    expected[named.name] = &named;
    const SafetensorsTensor* const found = contents.Find(named.name);
    if (found == nullptr) return absl::InvalidArgumentError(absl::StrCat("tensor ", named.name, " is missing"));
    const std::optional<SafetensorsType> type = TypeOf(named.tensor);
    if (found->type != type || found->shape != ShapeOf(named.tensor)) {
      return absl::InvalidArgumentError(absl::StrCat("tensor ", named.name, ": expected ",
                                                     type ? Describe(*type, ShapeOf(named.tensor)) : "an unknown type",
                                                     ", got ", Describe(found->type, found->shape)));
    }
  }
  for (const SafetensorsTensor& found : contents.tensors) {
    if (!expected.contains(found.name) && !unused.contains(found.name)) {
      return absl::InvalidArgumentError(absl::StrCat("tensor ", found.name, " is not expected here"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> SaveTensors(const std::vector<NamedTensor>& tensors,
                                        const std::map<std::string, std::string>& metadata) {
  return CatchExceptions([&]() -> absl::StatusOr<std::string> {
    std::vector<at::Tensor> on_host;  // keeps the bytes alive
    std::vector<SafetensorsTensor> entries;
    for (const NamedTensor& named : tensors) {
      const std::optional<SafetensorsType> type = TypeOf(named.tensor);
      if (!type) {
        return absl::InvalidArgumentError(absl::StrCat(
            "tensor ", named.name, " has a type that is not saved: ", at::toString(named.tensor.scalar_type())));
      }
      const at::Tensor& host = on_host.emplace_back(named.tensor.cpu().contiguous());
      entries.push_back({named.name, *type, ShapeOf(host),
                         std::string_view(static_cast<const char*>(host.const_data_ptr()), host.nbytes())});
    }
    return WriteSafetensors(entries, metadata);
  });
}

absl::Status LoadTensors(std::string_view file, const std::vector<NamedTensor>& tensors,
                         const std::set<std::string_view>& unused) {
  ASSIGN_OR_RETURN(const SafetensorsContents contents, ReadSafetensors(file));
  RETURN_IF_ERROR(CheckFits(contents, tensors, unused));
  return CatchExceptions([&] {
    for (const NamedTensor& named : tensors) {
      const std::string_view bytes = contents.Find(named.name)->bytes;
      at::Tensor host = at::empty(named.tensor.sizes(), named.tensor.scalar_type());
      if (!bytes.empty()) std::memcpy(host.mutable_data_ptr(), bytes.data(), bytes.size());
      at::Tensor(named.tensor).copy_(host);
    }
    return absl::OkStatus();
  });
}

}  // namespace headrace
