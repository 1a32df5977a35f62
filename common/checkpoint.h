// A run's checkpoints: directories CHECKPOINTS/update-000000012345 with the learner's tensors, the policy alone, and a
// manifest that is written last and makes the rest count. docs/formats/checkpoint.md describes the files.
//
// Not thread-safe; one process at a time uses a directory of checkpoints.
#ifndef HEADRACE_COMMON_CHECKPOINT_H_
#define HEADRACE_COMMON_CHECKPOINT_H_

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/checkpoint.pb.h"

namespace headrace {

// Names of the files in a checkpoint.
inline constexpr char kAlgorithmFile[] = "algorithm.safetensors";
inline constexpr char kOptimizerFile[] = "optimizer.safetensors";
inline constexpr char kPolicyFile[] = "policy.safetensors";
inline constexpr char kManifestFile[] = "MANIFEST.textproto";
inline constexpr char kBestCheckpoint[] = "best";

struct LoadedCheckpoint {
  v1::CheckpointManifest manifest;
  std::map<std::string, std::string> files;  // contents by name
};

// "update-000000012345"
std::string CheckpointName(uint64_t updates);

// Files of a checkpoint that are on disk and do not count yet.
struct StagedCheckpoint {
  std::string directory;  // of the checkpoint
  std::string staged;     // where the files are meanwhile: the same, or beside one that is to be replaced
  google::protobuf::RepeatedPtrField<v1::CheckpointFile> files;
};

// Writes the files; after an error none is left.
absl::StatusOr<StagedCheckpoint> StageCheckpoint(const std::string& directory,
                                                 const std::map<std::string, std::string_view>& files);
// Writes the manifest, whose `files` are filled in here. A checkpoint that is there already is replaced in one step.
absl::Status CommitCheckpoint(const StagedCheckpoint& checkpoint, v1::CheckpointManifest manifest);
// Instead of CommitCheckpoint.
absl::Status DropCheckpoint(const StagedCheckpoint& checkpoint);
// StageCheckpoint and CommitCheckpoint.
absl::Status SaveCheckpoint(const std::string& directory, v1::CheckpointManifest manifest,
                            const std::map<std::string, std::string_view>& files);
// NotFound: there is no manifest. DataLoss: a file is missing, cut off or altered, or the manifest cannot be read.
// FailedPrecondition: it has another format.
absl::StatusOr<LoadedCheckpoint> LoadCheckpoint(const std::string& directory);

// The newest checkpoint under `checkpoints` that is whole; those that were never finished or are damaged are reported
// and passed over. nullopt: none was ever finished. DataLoss: there are some, and none is usable; a run that began anew
// in their place would lose what they may still be good for.
absl::StatusOr<std::optional<LoadedCheckpoint>> LoadNewestCheckpoint(const std::string& checkpoints);
// Keeps `newest`, which was just written, and of `previous`, the one that was the newest before (empty: none), and
// those before that so many that `keep` have a whole manifest. Whatever else is after `previous` was passed over when
// the run was resumed from that, was never finished, or lacks something. The best one stays.
absl::Status RemoveOldCheckpoints(const std::string& checkpoints, const std::string& newest,
                                  const std::string& previous, uint32_t keep);

// Who this learner is: the same run as at the last start, and an incarnation more. Remembered before it returns. What
// was remembered may have been deleted: `newest`, the checkpoint with which it goes on, knows who it was then.
absl::StatusOr<v1::LearnerIdentity> NextIdentity(const std::string& checkpoints,
                                                 const std::optional<LoadedCheckpoint>& newest = std::nullopt);
// One that another has taken the place of.
absl::Status RemoveCheckpoint(const std::string& checkpoints, const std::string& name);
// Counts that this start ended because training had diverged.
absl::Status CountDivergence(const std::string& checkpoints);

}  // namespace headrace

#endif  // HEADRACE_COMMON_CHECKPOINT_H_
