#include "common/checkpoint.h"

#include <algorithm>
#include <chrono>
#include <string_view>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "common/checksum.h"
#include "common/file.h"
#include "common/log.h"
#include "common/random.h"
#include "common/seconds.h"
#include "common/status_macros.h"
#include "google/protobuf/text_format.h"

namespace headrace {
namespace {

constexpr uint32_t kFormat = 1;
constexpr char kPrefix[] = "update-";
constexpr char kNewSuffix[] = ".new";  // of one that is to replace another
constexpr int kMostReplacements = 10;  // while one is read
constexpr char kIdentityFile[] = "/IDENTITY.textproto";

template <typename Message>
absl::StatusOr<Message> ReadText(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  Message message;
  if (!google::protobuf::TextFormat::ParseFromString(text, &message)) {
    return absl::DataLossError(absl::StrFormat("%s cannot be read as a %s", path, message.GetTypeName()));
  }
  return message;
}

std::string PrintText(const google::protobuf::Message& message) {
  std::string text;
  google::protobuf::TextFormat::PrintToString(message, &text);
  return text;
}

// The last line of a manifest, a comment to text format: with it a manifest that was cut off between two lines, or
// altered by hand, is known for what it is.
std::string ChecksumLine(std::string_view text) { return absl::StrFormat("# xxh3 %016x\n", Checksum(text)); }

absl::Status CheckChecksumLine(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  const size_t length = ChecksumLine("").size();
  if (text.size() >= length) {
    const std::string_view before(text.data(), text.size() - length);
    if (absl::EndsWith(text, ChecksumLine(before))) return absl::OkStatus();
  }
  return absl::DataLossError(absl::StrFormat("%s is not what was written: its last line is not its checksum", path));
}

// Whether a process that died left this instead of replacing a checkpoint by it.
bool IsReplacement(const std::string& name) { return absl::EndsWith(name, kNewSuffix); }

// Names of the checkpoints and of replacements, newest first.
absl::StatusOr<std::vector<std::string>> Names(const std::string& checkpoints) {
  ASSIGN_OR_RETURN(std::vector<std::string> names, ListDirectory(checkpoints));
  std::erase_if(names, [](const std::string& name) { return !absl::StartsWith(name, kPrefix); });
  std::sort(names.rbegin(), names.rend());
  return names;
}

double SecondsSince1970() { return Seconds(std::chrono::system_clock::now().time_since_epoch()); }

absl::Status WriteFiles(const std::map<std::string, std::string_view>& files, StagedCheckpoint* checkpoint) {
  for (const auto& [name, contents] : files) {
    RETURN_IF_ERROR(WriteFileAtomically(checkpoint->staged + "/" + name, contents));
    v1::CheckpointFile& entry = *checkpoint->files.Add();
    entry.set_name(name);
    entry.set_bytes(contents.size());
    entry.set_xxh3(Checksum(contents));
  }
  return absl::OkStatus();
}

}  // namespace

std::string CheckpointName(uint64_t updates) { return absl::StrFormat("%s%012d", kPrefix, updates); }

absl::StatusOr<StagedCheckpoint> StageCheckpoint(const std::string& directory,
                                                 const std::map<std::string, std::string_view>& files) {
  StagedCheckpoint checkpoint = {directory, directory, {}};
  const absl::Status there = ReadFile(directory + "/" + kManifestFile).status();
  if (there.ok()) checkpoint.staged += kNewSuffix;
  if (!there.ok() && !absl::IsNotFound(there)) return there;
  RETURN_IF_ERROR(RemoveTree(checkpoint.staged));  // what a process that died has left
  RETURN_IF_ERROR(MakeDirectories(checkpoint.staged));
  if (absl::Status status = WriteFiles(files, &checkpoint); !status.ok()) {
    (void)DropCheckpoint(checkpoint);
    return status;
  }
  return checkpoint;
}

absl::Status CommitCheckpoint(const StagedCheckpoint& checkpoint, v1::CheckpointManifest manifest) {
  manifest.set_format(kFormat);
  *manifest.mutable_files() = checkpoint.files;
  manifest.set_committed_seconds(SecondsSince1970());
  const std::string text = PrintText(manifest);
  absl::Status status = WriteFileAtomically(checkpoint.staged + "/" + kManifestFile, text + ChecksumLine(text));
  if (status.ok()) {
    const bool replaces = checkpoint.staged != checkpoint.directory;
    status =
        replaces ? ReplaceDirectory(checkpoint.staged, checkpoint.directory) : SyncDirectoryOf(checkpoint.directory);
  }
  if (!status.ok()) (void)DropCheckpoint(checkpoint);
  return status;
}

absl::Status DropCheckpoint(const StagedCheckpoint& checkpoint) { return RemoveTree(checkpoint.staged); }

absl::Status SaveCheckpoint(const std::string& directory, v1::CheckpointManifest manifest,
                            const std::map<std::string, std::string_view>& files) {
  ASSIGN_OR_RETURN(const StagedCheckpoint checkpoint, StageCheckpoint(directory, files));
  return CommitCheckpoint(checkpoint, std::move(manifest));
}

namespace {

absl::StatusOr<LoadedCheckpoint> LoadOnce(const std::string& directory) {
  LoadedCheckpoint loaded;
  const std::string manifest = directory + "/" + kManifestFile;
  RETURN_IF_ERROR(CheckChecksumLine(manifest));
  ASSIGN_OR_RETURN(loaded.manifest, ReadText<v1::CheckpointManifest>(manifest));
  if (loaded.manifest.format() != kFormat) {
    return absl::FailedPreconditionError(
        absl::StrFormat("%s has format %d, this program reads %d", directory, loaded.manifest.format(), kFormat));
  }
  for (const v1::CheckpointFile& file : loaded.manifest.files()) {
    if (file.name().find('/') != std::string::npos) {
      return absl::DataLossError(
          absl::StrFormat("%s names the file \"%s\", expected one of its own directory", manifest, file.name()));
    }
    const std::string path = directory + "/" + file.name();
    absl::StatusOr<std::string> read = ReadFile(path);
    if (absl::IsNotFound(read.status())) return absl::DataLossError(read.status().message());
    ASSIGN_OR_RETURN(std::string contents, std::move(read));
    if (contents.size() != file.bytes() || Checksum(contents) != file.xxh3()) {
      return absl::DataLossError(
          absl::StrFormat("%s is not what was written: expected %d bytes with checksum %x, got %d with %x", path,
                          file.bytes(), file.xxh3(), contents.size(), Checksum(contents)));
    }
    loaded.files[file.name()] = std::move(contents);
  }
  return loaded;
}

}  // namespace

absl::StatusOr<LoadedCheckpoint> LoadCheckpoint(const std::string& directory) {
  const std::string manifest = directory + "/" + kManifestFile;
  for (int replacements = 0;; ++replacements) {
    const absl::StatusOr<std::string> before = ReadFile(manifest);
    absl::StatusOr<LoadedCheckpoint> loaded = LoadOnce(directory);
    if (!absl::IsDataLoss(loaded.status()) || replacements == kMostReplacements) return loaded;
    // A run that goes on replaces `best`: its manifest was that of one checkpoint, and its files were another's.
    const absl::StatusOr<std::string> after = ReadFile(manifest);
    if (before.ok() && after.ok() && *before == *after) return loaded;
  }
}

absl::StatusOr<std::optional<LoadedCheckpoint>> LoadNewestCheckpoint(const std::string& checkpoints) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, Names(checkpoints));
  absl::Status damage;
  for (const std::string& name : names) {
    if (IsReplacement(name)) continue;
    absl::StatusOr<LoadedCheckpoint> loaded = LoadCheckpoint(checkpoints + "/" + name);
    if (loaded.ok()) return *std::move(loaded);
    if (absl::IsNotFound(loaded.status())) {
      LogWarning("checkpoint %s was never finished", name);
    } else if (absl::IsDataLoss(loaded.status())) {
      LogError("checkpoint %s is not usable (%s); trying the one before it", name, loaded.status().ToString());
      damage.Update(loaded.status());
    } else {
      return loaded.status();
    }
  }
  if (damage.ok()) return std::nullopt;
  return absl::DataLossError(
      absl::StrFormat("no checkpoint under %s is usable (%s); remove them to begin anew, or use another directory",
                      checkpoints, std::string(damage.message())));
}

absl::Status RemoveOldCheckpoints(const std::string& checkpoints, const std::string& newest,
                                  const std::string& previous, uint32_t keep) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, Names(checkpoints));
  uint32_t kept = 1;
  for (const std::string& name : names) {
    if (name == newest) continue;
    const std::string directory = checkpoints + "/" + name;
    // One that is damaged, or was never finished, must not take the place of one that is whole.
    const bool whole = !IsReplacement(name) && CheckChecksumLine(directory + "/" + kManifestFile).ok();
    if (name <= previous && kept < keep && whole) {
      ++kept;
    } else {
      RETURN_IF_ERROR(RemoveTree(directory));
    }
  }
  return absl::OkStatus();
}

absl::Status RemoveCheckpoint(const std::string& checkpoints, const std::string& name) {
  return RemoveTree(checkpoints + "/" + name);
}

absl::StatusOr<v1::LearnerIdentity> NextIdentity(const std::string& checkpoints,
                                                 const std::optional<LoadedCheckpoint>& newest) {
  const std::string path = checkpoints + kIdentityFile;
  absl::StatusOr<v1::LearnerIdentity> identity = ReadText<v1::LearnerIdentity>(path);
  const bool damaged = absl::IsDataLoss(identity.status()) || (identity.ok() && identity->run_id().empty());
  if (damaged && newest.has_value()) {
    LogError("%s is damaged; it is made anew from checkpoint %s", path, newest->manifest.name());
  }
  if (absl::IsNotFound(identity.status()) || (damaged && newest.has_value())) {
    identity = v1::LearnerIdentity();
    identity->set_run_id(newest.has_value() ? newest->manifest.run_id() : absl::StrFormat("%016x", RandomId()));
    if (newest.has_value()) identity->set_incarnation(newest->manifest.counters().learner_incarnation());
  }
  RETURN_IF_ERROR(identity.status());
  if (identity->run_id().empty()) {
    return absl::DataLossError(absl::StrFormat(
        "%s names no run: expected the run_id and the incarnation of the newest checkpoint's manifest", path));
  }
  identity->set_incarnation(identity->incarnation() + 1);
  RETURN_IF_ERROR(WriteFileAtomically(path, PrintText(*identity)));
  return identity;
}

absl::Status CountDivergence(const std::string& checkpoints) {
  const std::string path = checkpoints + kIdentityFile;
  ASSIGN_OR_RETURN(v1::LearnerIdentity identity, ReadText<v1::LearnerIdentity>(path));
  identity.set_divergences(identity.divergences() + 1);
  identity.set_diverged_seconds(SecondsSince1970());
  return WriteFileAtomically(path, PrintText(identity));
}

}  // namespace headrace
