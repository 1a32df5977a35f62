#include "learner/sampled_updates.h"

#include <algorithm>
#include <chrono>
#include <span>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/log.h"
#include "common/policy_version.h"
#include "common/protocol.h"
#include "common/seconds.h"
#include "common/shutdown.h"
#include "common/status_macros.h"
#include "learner/divergence.h"
#include "learner/importance_weights.h"
#include "learner/replay_restore.h"
#include "learner/stale_items.h"
#include "learner/table_spec.h"
#include "model/device.h"

namespace headrace {
namespace {

constexpr std::chrono::seconds kTablePatience{2};
// Until all have filled theirs from a checkpoint of another number of shards: one that is without its share must not be
// in the next checkpoint.
constexpr std::chrono::hours kFillingPatience{1};
constexpr std::chrono::milliseconds kSignalInterval{500};
// Of so many batches the policy lag of one is measured.
constexpr uint64_t kLagInterval = 16;

// Mean over those of which it is known; random actions have none. NaN: of none.
double MeanPolicyLag(uint64_t current, std::span<const int64_t> versions) {
  double sum = 0;
  double known = 0;
  for (const int64_t version : versions) {
    if (const std::optional<uint64_t> lag = PolicyLag(current, static_cast<uint64_t>(version)); lag.has_value()) {
      sum += static_cast<double>(*lag);
      ++known;
    }
  }
  return known > 0 ? sum / known : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace

absl::StatusOr<std::unique_ptr<SampledUpdates>> SampledUpdates::Start(const Options& options, Algorithm* algorithm,
                                                                      LocalOptimizer* optimizer,
                                                                      LearnerMetrics* metrics) {
  std::unique_ptr<SampledUpdates> updates(new SampledUpdates(options, algorithm, optimizer, metrics));
  RETURN_IF_ERROR(updates->StartSampler(options));
  // Actors would be turned away by shards that have no table yet. A shard that is gone is not waited for.
  const bool connected = updates->sampler_->WaitConnected(std::chrono::steady_clock::now() + kTablePatience);
  if (!connected && options.resume_from != nullptr &&
      NumberOfShardsChanged(options.resume_from->manifest, options.addresses.size())) {
    RETURN_IF_ERROR(updates->WaitUntilFilled());
  }
  if (options.resume_from != nullptr) updates->CompareShards(options.resume_from->manifest);
  return updates;
}

SampledUpdates::SampledUpdates(const Options& options, Algorithm* algorithm, LocalOptimizer* optimizer,
                               LearnerMetrics* metrics)
    : config_(options.config),
      experience_(options.experience),
      algorithm_(algorithm),
      optimizer_(optimizer),
      metrics_(metrics) {
  for (size_t i = 0; i < experience_.slices.size(); ++i) {
    if (experience_.slices[i].column() == "policy_version") version_slice_ = i;
  }
}

absl::Status SampledUpdates::StartSampler(const Options& options) {
  ASSIGN_OR_RETURN(const at::Device device, ParseDevice(config_.device()));
  RETURN_IF_ERROR(CheckBatchSize(config_, experience_));
  // Nothing of the next round is there before this one's weights are.
  const size_t slots = experience_.round_steps > 0 ? 1 : config_.learner().prefetch() + 1;
  ASSIGN_OR_RETURN(slots_, BatchSlots::Create(experience_, slots, device));
  ReplaySamplerOptions sampler;
  sampler.addresses = options.addresses;
  sampler.peer = options.peer;
  sampler.table = MakeTableSpec(config_, experience_);
  if (const uint64_t most = sampler.table.max_items(); experience_.queue && most < experience_.batch_size) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "replay.budget_bytes: expected place for a batch of %d items on each of %d shards, got %d for %d",
        experience_.batch_size, config_.replay().shards(), config_.replay().budget_bytes(), most));
  }
  sampler.slices = experience_.slices;
  sampler.pad = experience_.least_item_rows > 0;
  sampler.without_replacement = config_.replay().without_replacement();
  sampler.batch_size = experience_.batch_size;
  sampler.ratio = MakeRatio(config_, experience_);
  sampler.seed = config_.seed();
  sampler.slots = slots_->Blocks();
  for (const std::span<std::byte> block : sampler.slots.front()) batch_bytes_ += static_cast<double>(block.size());
  metrics_->prefetch_batches.Set(static_cast<double>(slots - 1));
  sampler.checkpoints = config_.checkpoint().replay();
  sampler.env_steps = options.env_steps;
  sampler.batches = options.updates;
  if (options.resume_from != nullptr) {
    const v1::CheckpointManifest& manifest = options.resume_from->manifest;
    sampler.states = ShardStates(manifest, sampler.table.name(), options.addresses.size());
    if (NumberOfShardsChanged(manifest, options.addresses.size())) {
      ASSIGN_OR_RETURN(sampler.redistributions,
                       PlanRedistribution(manifest, sampler.table.name(), options.peer, options.addresses));
    }
  }
  ASSIGN_OR_RETURN(sampler_, ReplaySampler::Start(std::move(sampler)));
  return absl::OkStatus();
}

absl::Status SampledUpdates::WaitUntilFilled() const {
  LogInfo("waiting for all shards, which take their shares of the checkpoint");
  const auto until = std::chrono::steady_clock::now() + kFillingPatience;
  while (!sampler_->WaitConnected(std::chrono::steady_clock::now() + kSignalInterval)) {
    RETURN_IF_ERROR(sampler_->Fault());
    if (ShutdownSignal::Requested()) return absl::CancelledError("interrupted while shards took their shares");
    if (std::chrono::steady_clock::now() >= until) {
      return absl::UnavailableError("not all shards have taken their shares of the checkpoint within an hour");
    }
  }
  return absl::OkStatus();
}

void SampledUpdates::CompareShards(const v1::CheckpointManifest& manifest) const {
  const ReplaySampler::Stats stats = sampler_->stats();
  const std::vector<v1::TableState> saved =
      ShardStates(manifest, MakeTableSpec(config_, experience_).name(), stats.states.size());
  for (size_t i = 0; i < saved.size(); ++i) {
    // In the same life it has only gone on, and so it has where it wrote a checkpoint of its own at the end of one.
    const bool saved_at_its_end = stats.restored_from[i].starts_with(kEndOfALife) &&
                                  stats.states[i].inserted_steps() >= saved[i].inserted_steps();
    if (stats.states[i].incarnation() == saved[i].incarnation() || stats.restored_from[i] == manifest.name() ||
        saved_at_its_end) {
      continue;
    }
    LogError("shard %d went on from %s, the learner from checkpoint %s: replay is of another moment than the networks",
             i, stats.restored_from[i].empty() ? "nothing" : absl::StrCat("checkpoint ", stats.restored_from[i]),
             manifest.name());
  }
}

absl::StatusOr<UpdateSource::Arrival> SampledUpdates::Next(const Moment& moment, Deadline deadline) {
  ASSIGN_OR_RETURN(filled_, sampler_->Next(deadline));
  metrics_->sample.Observe(Seconds(filled_.there - filled_.asked));
  metrics_->sampled_bytes.Increment(batch_bytes_);
  Arrival arrival = {.usable = true, .waited_for = filled_.wait, .asked = filled_.asked};
  if (experience_.round_steps == 0 || !version_slice_.has_value()) return arrival;
  const std::vector<uint32_t> stale =
      StaleItems(slots_->OnHost(filled_.slot, *version_slice_), moment.published_version);
  if (stale.empty()) return arrival;
  metrics_->stale_items.Increment(static_cast<double>(stale.size()));
  sampler_->Redraw(filled_, stale);
  arrival.usable = false;
  return arrival;
}

absl::Status SampledUpdates::Update(const Moment& moment) {
  const size_t slot = filled_.slot;
  if (const std::span<float> weights = slots_->Weights(slot); !weights.empty()) {
    const double exponent =
        ImportanceExponent(experience_.importance_exponent, sampler_->env_steps(), config_.stop().env_steps());
    ImportanceWeights(sampler_->probabilities(slot), exponent, weights);
  }
  std::ranges::copy(sampler_->rows(slot).first(slots_->Rows(slot).size()), slots_->Rows(slot).begin());
  Batch batch = slots_->OnDevice(slot);
  batch.progress = moment.progress;
  optimizer_->SetProgress(moment.progress);
  algorithm_->Update(batch, *optimizer_);
  algorithm_->AfterUpdate(moment.progress);
  if (version_slice_.has_value() && filled_.batch % kLagInterval == 0) {
    const at::Tensor& versions = slots_->OnHost(slot, *version_slice_);
    const int64_t* const values = versions.data_ptr<int64_t>();
    policy_lag_ = MeanPolicyLag(moment.version, {values, static_cast<size_t>(versions.numel())});
  }
  RETURN_IF_ERROR(UpdatePriorities(slot));
  slots_->Release(slot);
  return absl::OkStatus();
}

absl::Status SampledUpdates::UpdatePriorities(size_t slot) {
  const at::Tensor priorities = algorithm_->Priorities();
  if (!priorities.defined()) return absl::OkStatus();
  const at::Tensor host = priorities.cpu();
  if (!host.isfinite().all().item<bool>()) return DivergedError("the priorities are not finite");
  sampler_->UpdatePriorities(slot, {host.data_ptr<float>(), static_cast<size_t>(host.numel())});
  return absl::OkStatus();
}

void SampledUpdates::Done(const Moment& moment) { sampler_->Done(filled_.slot, moment.published_version); }

bool SampledUpdates::RoundLost() {
  if (experience_.round_steps == 0) return false;
  const ReplaySampler::Stats stats = sampler_->stats();
  if (stats.disconnections == disconnections_ || stats.connected_shards < stats.states.size()) return false;
  disconnections_ = stats.disconnections;
  LogWarning("a replay shard was lost in this round: another begins");
  return true;
}

}  // namespace headrace
