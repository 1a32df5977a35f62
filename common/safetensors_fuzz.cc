// Safetensors files: what is read can be written, and reads back as the same.
#include <algorithm>
#include <string>

#include "common/check.h"
#include "common/safetensors.h"

namespace headrace {
namespace {

// Bytes that lie next to memory that is not theirs would be seen; this reads all of them.
void CheckSame(const SafetensorsContents& a, const SafetensorsContents& b) {
  HEADRACE_CHECK(a.metadata == b.metadata && a.tensors.size() == b.tensors.size());
  for (const SafetensorsTensor& tensor : a.tensors) {
    const SafetensorsTensor* const same = b.Find(tensor.name);
    HEADRACE_CHECK(same != nullptr && same->type == tensor.type && same->shape == tensor.shape &&
                   same->bytes == tensor.bytes);
  }
}

}  // namespace
}  // namespace headrace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace headrace;
  const absl::StatusOr<SafetensorsContents> read = ReadSafetensors({reinterpret_cast<const char*>(data), size});
  if (!read.ok()) return 0;
  const absl::StatusOr<std::string> written = WriteSafetensors(read->tensors, read->metadata);
  HEADRACE_CHECK(written.ok());
  const absl::StatusOr<SafetensorsContents> again = ReadSafetensors(*written);
  HEADRACE_CHECK(again.ok());
  CheckSame(*read, *again);
  return 0;
}
