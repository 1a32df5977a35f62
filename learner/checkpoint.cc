#include "learner/checkpoint.h"

#include <algorithm>
#include <random>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "common/checksum.h"
#include "common/file.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "google/protobuf/text_format.h"

namespace headrace {
namespace {

constexpr uint32_t kFormat = 1;
constexpr char kPrefix[] = "update-";
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

absl::Status WriteText(const std::string& path, const google::protobuf::Message& message) {
  std::string text;
  google::protobuf::TextFormat::PrintToString(message, &text);
  return WriteFileAtomically(path, text);
}

// Names of the checkpoints, newest first.
absl::StatusOr<std::vector<std::string>> Names(const std::string& checkpoints) {
  ASSIGN_OR_RETURN(std::vector<std::string> names, ListDirectory(checkpoints));
  std::erase_if(names, [](const std::string& name) { return !absl::StartsWith(name, kPrefix); });
  std::sort(names.rbegin(), names.rend());
  return names;
}

}  // namespace

std::string CheckpointName(uint64_t updates) { return absl::StrFormat("%s%012d", kPrefix, updates); }

absl::Status SaveCheckpoint(const std::string& directory, v1::CheckpointManifest manifest,
                            const std::map<std::string, std::string>& files) {
  RETURN_IF_ERROR(MakeDirectories(directory));
  manifest.set_format(kFormat);
  for (const auto& [name, contents] : files) {
    RETURN_IF_ERROR(WriteFileAtomically(directory + "/" + name, contents));
    v1::CheckpointFile& entry = *manifest.add_files();
    entry.set_name(name);
    entry.set_bytes(contents.size());
    entry.set_xxh3(Checksum(contents));
  }
  return WriteText(directory + "/" + kManifestFile, manifest);
}

absl::StatusOr<LoadedCheckpoint> LoadCheckpoint(const std::string& directory) {
  LoadedCheckpoint loaded;
  ASSIGN_OR_RETURN(loaded.manifest, ReadText<v1::CheckpointManifest>(directory + "/" + kManifestFile));
  if (loaded.manifest.format() != kFormat) {
    return absl::DataLossError(
        absl::StrFormat("%s has format %d, this program reads %d", directory, loaded.manifest.format(), kFormat));
  }
  for (const v1::CheckpointFile& file : loaded.manifest.files()) {
    const std::string path = directory + "/" + file.name();
    ASSIGN_OR_RETURN(std::string contents, ReadFile(path));
    if (contents.size() != file.bytes() || Checksum(contents) != file.xxh3()) {
      return absl::DataLossError(
          absl::StrFormat("%s is not what was written: expected %d bytes with checksum %x, got %d with %x", path,
                          file.bytes(), file.xxh3(), contents.size(), Checksum(contents)));
    }
    loaded.files[file.name()] = std::move(contents);
  }
  return loaded;
}

absl::StatusOr<std::optional<LoadedCheckpoint>> LoadNewestCheckpoint(const std::string& checkpoints) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, Names(checkpoints));
  for (const std::string& name : names) {
    absl::StatusOr<LoadedCheckpoint> loaded = LoadCheckpoint(checkpoints + "/" + name);
    if (loaded.ok()) return *std::move(loaded);
    LogError("checkpoint %s is not usable (%s); trying the one before it", name, loaded.status().ToString());
  }
  return std::nullopt;
}

absl::Status RemoveOldCheckpoints(const std::string& checkpoints, uint32_t keep) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, Names(checkpoints));
  for (size_t i = keep; i < names.size(); ++i) RETURN_IF_ERROR(RemoveTree(checkpoints + "/" + names[i]));
  return absl::OkStatus();
}

absl::StatusOr<v1::LearnerIdentity> NextIdentity(const std::string& checkpoints) {
  const std::string path = checkpoints + kIdentityFile;
  absl::StatusOr<v1::LearnerIdentity> identity = ReadText<v1::LearnerIdentity>(path);
  if (absl::IsNotFound(identity.status())) {
    identity = v1::LearnerIdentity();
    std::random_device random;
    identity->set_run_id(absl::StrFormat("%08x%08x", random(), random()));
  }
  RETURN_IF_ERROR(identity.status());
  identity->set_incarnation(identity->incarnation() + 1);
  RETURN_IF_ERROR(WriteText(path, *identity));
  return identity;
}

}  // namespace headrace
