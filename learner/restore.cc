#include "learner/restore.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/log.h"
#include "common/safetensors.h"
#include "common/status_macros.h"
#include "model/weights.h"

namespace headrace {
namespace {

// The name under which algorithms list the state of their random generator.
constexpr char kGenerator[] = "generator";

absl::StatusOr<const std::string*> FindFile(const LoadedCheckpoint& checkpoint, const char* name) {
  const auto file = checkpoint.files.find(name);
  if (file == checkpoint.files.end()) return absl::DataLossError(absl::StrCat("the checkpoint has no ", name));
  return &file->second;
}

absl::Status LoadWithoutGenerator(const std::string& file, std::vector<NamedTensor> tensors) {
  std::erase_if(tensors, [](const NamedTensor& named) { return named.name == kGenerator; });
  return LoadTensors(file, tensors, {kGenerator});
}

// Its size tells one kind of device's generators from another's.
absl::StatusOr<bool> GeneratorFits(const std::string& file, const std::vector<NamedTensor>& tensors) {
  ASSIGN_OR_RETURN(const SafetensorsContents contents, ReadSafetensors(file));
  const SafetensorsTensor* const saved = contents.Find(kGenerator);
  for (const NamedTensor& named : tensors) {
    if (named.name == kGenerator && saved != nullptr) return saved->bytes.size() == named.tensor.nbytes();
  }
  return true;
}

}  // namespace

absl::StatusOr<LoadedCheckpoint> LoadNetworks(const std::string& path) {
  absl::StatusOr<LoadedCheckpoint> checkpoint = LoadCheckpoint(path);
  if (absl::IsNotFound(checkpoint.status())) {
    absl::StatusOr<std::optional<LoadedCheckpoint>> newest = LoadNewestCheckpoint(path + "/checkpoints");
    if (!newest.ok()) {
      checkpoint = newest.status();
    } else if (newest->has_value()) {
      checkpoint = **std::move(newest);
    }
  }
  if (!checkpoint.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected the directory of a run with a checkpoint, or that of a checkpoint, got ", path, ": ",
                     std::string(checkpoint.status().message())));
  }
  if (!checkpoint->files.contains(kAlgorithmFile)) {
    return absl::InvalidArgumentError(absl::StrCat(path, " holds a policy alone, without ", kAlgorithmFile));
  }
  return checkpoint;
}

absl::Status RestoreAll(const LoadedCheckpoint& checkpoint, Algorithm& algorithm,
                        const std::vector<NamedTensor>& optimizer) {
  ASSIGN_OR_RETURN(const std::string* const networks, FindFile(checkpoint, kAlgorithmFile));
  ASSIGN_OR_RETURN(const std::string* const optimizers, FindFile(checkpoint, kOptimizerFile));
  const std::vector<NamedTensor> state = algorithm.StateTensors();
  ASSIGN_OR_RETURN(const bool generator_fits, GeneratorFits(*networks, state));
  if (generator_fits) {
    RETURN_IF_ERROR(LoadTensors(*networks, state));
  } else {
    LogWarning("the checkpoint is of another kind of device: the learner's random numbers begin anew");
    RETURN_IF_ERROR(LoadWithoutGenerator(*networks, state));
  }
  RETURN_IF_ERROR(LoadTensors(*optimizers, optimizer));
  return algorithm.StateLoaded();
}

absl::Status RestoreNetworks(const LoadedCheckpoint& checkpoint, Algorithm& algorithm) {
  ASSIGN_OR_RETURN(const std::string* const networks, FindFile(checkpoint, kAlgorithmFile));
  if (const absl::Status loaded = LoadWithoutGenerator(*networks, algorithm.StateTensors()); !loaded.ok()) {
    return absl::Status(loaded.code(),
                        absl::StrFormat("the networks of checkpoint %s of run %s do not fit this run: %s",
                                        checkpoint.manifest.name(), checkpoint.manifest.run_id(), loaded.message()));
  }
  return algorithm.StateLoaded();
}

}  // namespace headrace
