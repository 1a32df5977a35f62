// Updates from batches that are drawn from the replay shards.
#ifndef HEADRACE_LEARNER_SAMPLED_UPDATES_H_
#define HEADRACE_LEARNER_SAMPLED_UPDATES_H_

#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "algorithm/algorithm.h"
#include "algorithm/batch_slots.h"
#include "algorithm/local_optimizer.h"
#include "common/checkpoint.h"
#include "learner/learner_metrics.h"
#include "learner/update_source.h"
#include "proto/config.pb.h"
#include "replay/sampler.h"

namespace headrace {

class SampledUpdates : public UpdateSource {
 public:
  struct Options {
    v1::RunConfig config;
    Experience experience;
    v1::Peer peer;
    std::vector<std::string> addresses;  // of the shards
    // Where a run goes on; `resume_from`: null if there is no checkpoint.
    uint64_t env_steps = 0;
    uint64_t updates = 0;
    const LoadedCheckpoint* resume_from = nullptr;
  };
  // Connects to the shards, for which it waits a moment. The pointers must outlive this. InvalidArgument: options that
  // do not fit each other.
  static absl::StatusOr<std::unique_ptr<SampledUpdates>> Start(const Options& options, Algorithm* algorithm,
                                                               LocalOptimizer* optimizer, LearnerMetrics* metrics);

  // Of no use: in synchronous rounds, a batch with items of earlier ones. Others are then drawn in their place.
  absl::StatusOr<Arrival> Next(const Moment& moment, Deadline deadline) override;
  absl::Status Update(const Moment& moment) override;
  void Done(const Moment& moment) override;
  bool RoundLost() override;

  at::Tensor Metrics() const override { return algorithm_->Metrics(); }
  double policy_lag() const override { return policy_lag_; }
  ReplaySampler::Stats stats() const override { return sampler_->stats(); }
  uint64_t env_steps() const override { return sampler_->env_steps(); }

 private:
  SampledUpdates(const Options& options, Algorithm* algorithm, LocalOptimizer* optimizer, LearnerMetrics* metrics);

  absl::Status StartSampler(const Options& options);
  // Says which shards hold another moment than the checkpoint that this learner goes on from.
  absl::Status WaitUntilFilled() const;
  void CompareShards(const v1::CheckpointManifest& manifest) const;
  // Tells the shards the priorities that the last update gave the batch's items.
  absl::Status UpdatePriorities(size_t slot);

  const v1::RunConfig config_;
  const Experience experience_;
  Algorithm* const algorithm_;
  LocalOptimizer* const optimizer_;
  LearnerMetrics* const metrics_;
  std::optional<size_t> version_slice_;  // which slice of a batch holds policy versions
  std::unique_ptr<BatchSlots> slots_;
  std::unique_ptr<ReplaySampler> sampler_;
  ReplaySampler::Filled filled_{};  // between Next and Done
  double batch_bytes_ = 0;
  double policy_lag_ = std::numeric_limits<double>::quiet_NaN();
  uint64_t disconnections_ = 0;  // of shards, up to which a round has begun since
};

}  // namespace headrace

#endif  // HEADRACE_LEARNER_SAMPLED_UPDATES_H_
