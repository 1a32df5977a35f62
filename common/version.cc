#include "common/version.h"

#include "absl/flags/flag.h"

// Compiled in, it would have to be built again after each commit.
ABSL_FLAG(std::string, revision, "", "revision of the sources that this was built from, for whoever asks later");

namespace headrace {

std::string Revision() { return absl::GetFlag(FLAGS_revision); }

}  // namespace headrace
