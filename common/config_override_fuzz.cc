// Overrides, one a line: one that is refused changes nothing.
#include <string>

#include "absl/strings/str_split.h"
#include "common/check.h"
#include "common/config_override.h"
#include "common/config_test.pb.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace headrace;
  test::Everything message;
  const std::string text(reinterpret_cast<const char*>(data), size);
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(text, '\n'))) {
    const std::string before = message.SerializeAsString();
    const absl::Status status = ApplyOverride(line, &message);
    if (!status.ok()) HEADRACE_CHECK(!status.message().empty() && message.SerializeAsString() == before);
  }
  return 0;
}
