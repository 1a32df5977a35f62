#include "common/version.h"

#include <filesystem>
#include <system_error>

#include "absl/flags/flag.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "common/file.h"

// Compiled in, it would have to be built again after each commit.
ABSL_FLAG(std::string, revision, "",
          "revision of the sources that this was built from, for whoever asks later; default: what the file REVISION "
          "says beside the binary's directory");

namespace headrace {

std::string Revision() {
  if (const std::string given = absl::GetFlag(FLAGS_revision); !given.empty()) return given;
  std::error_code error;
  const std::filesystem::path binary = std::filesystem::read_symlink("/proc/self/exe", error);
  const absl::StatusOr<std::string> file = ReadFile((binary.parent_path().parent_path() / "REVISION").string());
  return file.ok() ? std::string(absl::StripAsciiWhitespace(*file)) : "not known";
}

}  // namespace headrace
