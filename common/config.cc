#include "common/config.h"

#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/config_check.h"
#include "common/config_fields.h"
#include "common/config_override.h"
#include "common/config_text.h"
#include "common/file.h"
#include "common/status_macros.h"
#include "google/protobuf/text_format.h"

namespace headrace {
namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";  // that some editors write

}  // namespace

absl::StatusOr<v1::RunConfig> ParseRunConfig(const std::string& text, const std::string& name,
                                             const std::vector<std::string>& overrides, ConfigSources* sources) {
  ConfigSources unwanted;
  if (sources == nullptr) sources = &unwanted;
  sources->name_ = name;
  sources->overrides_ = overrides;
  v1::RunConfig config;
  RETURN_IF_ERROR(ParseText(text, name, &config, &sources->locations_));
  for (const std::string& override : overrides) {
    const absl::Status status = ApplyOverride(override, &config);
    if (!status.ok()) return absl::InvalidArgumentError(absl::StrCat("--set ", status.message()));
  }
  SetDefaults(&config);

  std::vector<std::string> errors;
  for (const auto& violations : {FindRangeViolations(config), FindInconsistencies(config)}) {
    for (const ConfigViolation& violation : violations) {
      errors.push_back(absl::StrCat(sources->Of(violation.path), ": ", violation.path, ": ", violation.text));
    }
  }
  if (!errors.empty()) return absl::InvalidArgumentError(absl::StrJoin(errors, "\n"));
  return config;
}

absl::StatusOr<v1::RunConfig> LoadRunConfig(const std::string& path, const std::vector<std::string>& overrides,
                                            ConfigSources* sources) {
  ASSIGN_OR_RETURN(std::string text, ReadFile(path));
  if (text.starts_with(kByteOrderMark)) text.erase(0, kByteOrderMark.size());
  return ParseRunConfig(text, path, overrides, sources);
}

std::string ResolvedText(const v1::RunConfig& config) {
  v1::RunConfig resolved = config;
  SetDefaults(&resolved);
  std::string text;
  google::protobuf::TextFormat::PrintToString(resolved, &text);
  return absl::StrCat("# The configuration of this run: file, overrides and defaults together.\n", text);
}

absl::Status CheckResumable(const v1::RunConfig& stored, const v1::RunConfig& now) {
  v1::RunConfig resolved_stored = stored;
  v1::RunConfig resolved_now = now;
  SetDefaults(&resolved_stored);
  SetDefaults(&resolved_now);
  std::vector<std::string> differences;
  for (const FieldDifference& difference : FindDifferences(resolved_stored, resolved_now)) {
    if (difference.resumable) continue;
    differences.push_back(
        absl::StrCat("  ", difference.path, ": ", difference.before, " in the run, ", difference.after, " now"));
  }
  if (differences.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the run was started with another configuration, and these fields cannot change on a resume:\n",
                   absl::StrJoin(differences, "\n"),
                   "\nSet them back, or start a new run in another directory. Fields that are marked [resume] in "
                   "proto/config.proto may change."));
}

}  // namespace headrace
