// The safetensors container, at the level of bytes: named arrays with type and shape, and strings beside them. Python
// opens the files with safetensors.numpy.load_file or safetensors.torch.load_file.
//
//   ASSIGN_OR_RETURN(std::string file, WriteSafetensors({{"w", SafetensorsType::kF32, {2, 3}, bytes}}, {{"step",
//   "7"}})); ASSIGN_OR_RETURN(SafetensorsContents contents, ReadSafetensors(file));  // `file` must outlive `contents`
//   const SafetensorsTensor* w = contents.Find("w");
//
// A file is
//   uint64 length of the header, little-endian
//   the header, JSON: {"__metadata__": {"step": "7"}, "w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
//   the arrays, little-endian and C-contiguous, one after the other without gaps; offsets count from their beginning
//
// Thread-safe: pure functions.
#ifndef HEADRACE_COMMON_SAFETENSORS_H_
#define HEADRACE_COMMON_SAFETENSORS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace headrace {

enum class SafetensorsType { kBool, kU8, kI8, kU16, kI16, kF16, kBf16, kU32, kI32, kF32, kU64, kI64, kF64 };

// Bytes of one element.
size_t ElementSize(SafetensorsType type);
// As headers spell it, for instance "F32".
std::string TypeName(SafetensorsType type);

struct SafetensorsTensor {
  std::string name;
  SafetensorsType type;
  std::vector<uint64_t> shape;  // empty for a scalar
  std::string_view bytes;       // not owned
};

struct SafetensorsContents {
  std::vector<SafetensorsTensor> tensors;  // in the order of their bytes
  std::map<std::string, std::string> metadata;

  // nullptr where there is none of this name.
  const SafetensorsTensor* Find(std::string_view name) const;
};

// A whole file. Tensors are placed by falling element size, so that each begins at a multiple of its own, counted from
// the beginning of the file. INVALID_ARGUMENT: bytes and shape disagree, a name is used twice or reserved, or a string
// is not UTF-8.
absl::StatusOr<std::string> WriteSafetensors(const std::vector<SafetensorsTensor>& tensors,
                                             const std::map<std::string, std::string>& metadata);

// Checks all of the header against the size of the file; nothing is copied, the bytes point into `file`.
// INVALID_ARGUMENT says what is wrong, whatever the bytes are.
absl::StatusOr<SafetensorsContents> ReadSafetensors(std::string_view file);

}  // namespace headrace

#endif  // HEADRACE_COMMON_SAFETENSORS_H_
