// A learner's manifest, with a right last line, and the same bytes as the identity beside it.
#include <algorithm>
#include <string>

#include "absl/strings/str_format.h"
#include "common/check.h"
#include "common/checkpoint.h"
#include "common/checksum.h"
#include "common/file.h"
#include "common/fuzz_files.h"

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  using namespace headrace;
  const std::string directory = FuzzDirectory() + "/" + CheckpointName(1);
  HEADRACE_CHECK(MakeDirectories(directory).ok());
  WriteFuzzFile(directory + "/" + kPolicyFile, "policy");
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace headrace;
  const std::string text(reinterpret_cast<const char*>(data), size);
  WriteFuzzFile(FuzzDirectory() + "/" + CheckpointName(1) + "/" + kManifestFile,
                absl::StrFormat("%s# xxh3 %016x\n", text, Checksum(text)));
  const absl::StatusOr<std::optional<LoadedCheckpoint>> loaded = LoadNewestCheckpoint(FuzzDirectory());
  if (loaded.ok()) {
    HEADRACE_CHECK(loaded->has_value());
    for (const v1::CheckpointFile& file : (*loaded)->manifest.files()) {
      HEADRACE_CHECK(file.name() == kPolicyFile && (*loaded)->files.at(file.name()) == "policy");
    }
  }
  WriteFuzzFile(FuzzDirectory() + "/IDENTITY.textproto", text);
  const absl::StatusOr<v1::LearnerIdentity> identity = NextIdentity(FuzzDirectory());
  if (!identity.ok()) return 0;
  const absl::StatusOr<v1::LearnerIdentity> next = NextIdentity(FuzzDirectory());
  HEADRACE_CHECK(next.ok() && next->run_id() == identity->run_id());
  return 0;
}
