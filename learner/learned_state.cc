#include "learner/learned_state.h"

#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "algorithm/registry.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "learner/divergence.h"
#include "learner/restore.h"
#include "model/moments.h"
#include "model/weights.h"

namespace headrace {
namespace {

bool PerActor(const v1::RunConfig& config) {
  return config.topology() == v1::ASYNCHRONOUS_GRADIENTS && config.gradients().statistics() == v1::PER_ACTOR;
}

std::vector<LocalOptimizer> MakeOptimizers(const v1::RunConfig& config, const std::vector<ParameterGroup>& groups) {
  std::vector<LocalOptimizer> optimizers;
  if (!PerActor(config)) {
    optimizers.emplace_back(groups);
    return optimizers;
  }
  for (uint32_t i = 0; i < config.actor().processes(); ++i) {
    optimizers.emplace_back(groups, absl::StrCat("actor", i, "/"));
  }
  return optimizers;
}

// Whether there was something to merge. An actor that reports nonsense must not end the run, nor spoil what the others
// have reported.
bool MergeInto(v1::Moments& all, const std::vector<v1::Moments>& reported, int elements) {
  bool merged_any = false;
  for (const v1::Moments& moments : reported) {
    const absl::StatusOr<v1::Moments> merged =
        moments.mean_size() == elements
            ? MergeMoments(all, moments)
            : absl::InvalidArgumentError(absl::StrFormat("expected %d means, got %d", elements, moments.mean_size()));
    if (!merged.ok()) {
      LogWarning("moments dropped: %s", merged.status().ToString());
      continue;
    }
    all = *merged;
    merged_any = true;
  }
  return merged_any;
}

}  // namespace

absl::StatusOr<std::unique_ptr<LearnedState>> LearnedState::Create(const v1::RunConfig& config,
                                                                   const v1::EnvironmentSpec& environment,
                                                                   v1::Counters* counters) {
  ASSIGN_OR_RETURN(std::unique_ptr<Algorithm> algorithm, MakeAlgorithm(config, environment));
  return std::unique_ptr<LearnedState>(new LearnedState(config, environment, std::move(algorithm), counters));
}

LearnedState::LearnedState(const v1::RunConfig& config, const v1::EnvironmentSpec& environment,
                           std::unique_ptr<Algorithm> algorithm, v1::Counters* counters)
    : algorithm_(std::move(algorithm)),
      groups_(algorithm_->ParameterGroups()),
      per_actor_(PerActor(config)),
      optimizers_(MakeOptimizers(config, groups_)),
      counters_(counters) {
  for (const uint32_t dimension : environment.observation().shape()) {
    observation_elements_ *= static_cast<int>(dimension);
  }
}

absl::Status LearnedState::Restore(const LoadedCheckpoint& checkpoint) {
  const absl::Status restored = RestoreAll(checkpoint, *algorithm_, OptimizerTensors());
  if (absl::IsInvalidArgument(restored) && per_actor_ && absl::StrContains(restored.message(), "/optimizer/")) {
    return absl::InvalidArgumentError(absl::StrCat(
        "with gradients.statistics PER_ACTOR a run goes on with as many actor.processes as it began with: ",
        std::string(restored.message())));
  }
  RETURN_IF_ERROR(restored);
  SetMoments();
  LogInfo("resumed at %d environment steps and %d updates", counters_->env_steps(), counters_->updates());
  return absl::OkStatus();
}

absl::Status LearnedState::TakeNetworks(const LoadedCheckpoint& checkpoint) {
  RETURN_IF_ERROR(RestoreNetworks(checkpoint, *algorithm_));
  const v1::CheckpointManifest& manifest = checkpoint.manifest;
  *counters_->mutable_observation_moments() = manifest.counters().observation_moments();
  *counters_->mutable_return_moments() = manifest.counters().return_moments();
  SetMoments();
  std::set<std::string> networks;
  for (const NamedTensor& named : algorithm_->StateTensors())
    networks.insert(named.name.substr(0, named.name.find('.')));
  LogInfo("taken from checkpoint %s of run %s: %s", manifest.name(), manifest.run_id(), absl::StrJoin(networks, ", "));
  return absl::OkStatus();
}

void LearnedState::SetMoments() {
  if (counters_->observation_moments().count() > 0) {
    algorithm_->SetObservationMoments(counters_->observation_moments());
  }
  if (counters_->return_moments().count() > 0) algorithm_->SetReturnMoments(counters_->return_moments());
}

void LearnedState::MergeMoments(const std::vector<v1::Moments>& observations, const std::vector<v1::Moments>& returns) {
  if (!observations.empty() &&
      MergeInto(*counters_->mutable_observation_moments(), observations, observation_elements_)) {
    algorithm_->SetObservationMoments(counters_->observation_moments());
  }
  if (!returns.empty() && MergeInto(*counters_->mutable_return_moments(), returns, 1)) {
    algorithm_->SetReturnMoments(counters_->return_moments());
  }
}

absl::StatusOr<std::map<std::string, std::string>> LearnedState::CheckpointFiles(const at::Tensor& losses) const {
  const std::vector<NamedTensor> state = algorithm_->StateTensors();
  const std::vector<NamedTensor> optimizers = OptimizerTensors();
  RETURN_IF_ERROR(CheckFinite(state, losses));
  RETURN_IF_ERROR(CheckFinite(optimizers, losses));
  std::map<std::string, std::string> files;
  ASSIGN_OR_RETURN(files[kAlgorithmFile], SaveTensors(state, {}));
  ASSIGN_OR_RETURN(files[kOptimizerFile], SaveTensors(optimizers, {}));
  ASSIGN_OR_RETURN(files[kPolicyFile], SaveTensors(algorithm_->PolicyTensors(), {}));
  return files;
}

absl::StatusOr<std::string> LearnedState::PolicyFile(const at::Tensor& losses) const {
  const std::vector<NamedTensor> tensors = algorithm_->PolicyTensors();
  RETURN_IF_ERROR(CheckFinite(tensors, losses));
  return SaveTensors(tensors, {});
}

std::vector<NamedTensor> LearnedState::OptimizerTensors() const {
  std::vector<NamedTensor> tensors;
  for (const LocalOptimizer& optimizer : optimizers_) {
    for (NamedTensor& tensor : optimizer.StateTensors()) tensors.push_back(std::move(tensor));
  }
  return tensors;
}

absl::Status LearnedState::CheckFinite(const std::vector<NamedTensor>& tensors, const at::Tensor& losses) const {
  return headrace::CheckFinite(tensors, counters_->updates(), algorithm_->MetricNames(), losses);
}

}  // namespace headrace
