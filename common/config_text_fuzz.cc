// Configurations as text: errors say where, and what is taken reads back as the same from its resolved text.
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/config.h"
#include "common/config_test.pb.h"
#include "common/config_text.h"

namespace headrace {
namespace {

// Of every kind of field.
void ReadEverything(const std::string& text) {
  test::Everything message;
  TextLocations locations;
  const absl::Status status = ParseText(text, "file", &message, &locations);
  HEADRACE_CHECK(status.ok() || absl::StartsWith(status.message(), "file:"));
  const google::protobuf::Descriptor& type = *message.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const std::string& name = type.field(i)->name();
    for (const char* const below : {"", ".count", ".sizes[2]"}) locations.Find(type, absl::StrCat(name, below));
    if (type.field(i)->is_repeated()) locations.Find(type, absl::StrCat(name, "[1]"));
  }
}

}  // namespace
}  // namespace headrace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace headrace;
  const std::string text(reinterpret_cast<const char*>(data), size);
  ReadEverything(text);
  const absl::StatusOr<v1::RunConfig> config = ParseRunConfig(text, "file", {});
  HEADRACE_CHECK(config.ok() || absl::StartsWith(config.status().message(), "file"));
  if (!config.ok()) return 0;
  const absl::StatusOr<v1::RunConfig> again = ParseRunConfig(ResolvedText(*config), "resolved", {});
  HEADRACE_CHECK(again.ok() && again->SerializeAsString() == config->SerializeAsString());
  HEADRACE_CHECK(CheckResumable(*config, *again).ok());
  return 0;
}
