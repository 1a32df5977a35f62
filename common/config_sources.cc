#include "common/config_sources.h"

#include "absl/strings/str_cat.h"
#include "common/config_names.h"
#include "common/config_override.h"
#include "google/protobuf/descriptor.h"

namespace headrace {

std::string ConfigSources::Of(const std::string& path) const {
  for (auto override = overrides_.rbegin(); override != overrides_.rend(); ++override) {
    const std::string changed = OverriddenField(*override);
    const bool within = path.starts_with(changed + ".") || path.starts_with(changed + "[");
    if (path == changed || within) return absl::StrCat("--set ", *override);
  }
  const google::protobuf::Descriptor& root = *v1::RunConfig::descriptor();
  const std::string location = locations_.Find(root, path);
  if (!location.empty()) return location;
  const google::protobuf::FieldDescriptor* const field = FieldAt(root, path);
  return absl::StrCat(name_, field != nullptr && field->has_default_value() ? " (default)" : "");
}

absl::Status ConfigSources::Locate(const absl::Status& status) const {
  const std::string message(status.message());
  const size_t colon = message.find(": ");
  if (colon == std::string::npos) return status;
  const std::string path = message.substr(0, colon);
  if (FieldAt(*v1::RunConfig::descriptor(), path) == nullptr) return status;
  return absl::Status(status.code(), absl::StrCat(Of(path), ": ", message));
}

}  // namespace headrace
