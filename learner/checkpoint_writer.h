// Writes checkpoints beside the training: the learner's files first, then the shards write theirs where they live, and
// the manifest comes last. One at a time.
//
//   cut = {manifest, files, states}           on the learner's thread, between two updates
//   writer->Start(std::move(cut));            returns at once
//   writer->Poll() / Wait()                   counts what became of it
//
// Not thread-safe; the writing itself happens on a thread of its own.
#ifndef HEADRACE_LEARNER_CHECKPOINT_WRITER_H_
#define HEADRACE_LEARNER_CHECKPOINT_WRITER_H_

#include <chrono>
#include <future>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/checkpoint.h"
#include "learner/learner_metrics.h"
#include "proto/checkpoint.pb.h"
#include "proto/handshake.pb.h"

namespace headrace {

class CheckpointWriter {
 public:
  static constexpr std::chrono::seconds kShardPatience{120};
  // So often in a row a checkpoint may fail for want of a shard; then what was learned is saved without what that shard
  // held. Restarted, it brings what it has.
  static constexpr int kPatientFailures = 3;

  struct Cut {
    v1::CheckpointManifest manifest;           // name and counters
    std::map<std::string, std::string> files;  // contents by name
    std::vector<v1::TableState> states;        // of every shard, at the moment the counters are of
    // None will follow: it is committed without what shards cannot write, which is an error all the same.
    bool last = false;
  };

  // An empty list of shards: their contents are not written. `committed`: the checkpoint that the run was resumed from,
  // which shards must not remove before there is another; empty: none. A shard that is just being started again is
  // waited for, `connect_patience` long. `metrics` must outlive this.
  CheckpointWriter(std::string checkpoints, std::vector<std::string> shards, v1::Peer peer, uint32_t keep,
                   std::string committed, LearnerMetrics* metrics,
                   std::chrono::milliseconds connect_patience = std::chrono::seconds(10))
      : checkpoints_(std::move(checkpoints)),
        shards_(std::move(shards)),
        peer_(std::move(peer)),
        keep_(keep),
        metrics_(metrics),
        connect_patience_(connect_patience),
        committed_(std::move(committed)) {}

  bool writing() const { return writing_.valid(); }
  // writing() must be false.
  void Start(Cut cut, std::chrono::milliseconds patience = kShardPatience);
  // Ends a checkpoint that is done. One that failed is told of in the log; those before it stay.
  void Poll();
  // The same, waiting for it; what became of it, OK if nothing was being written. DEADLINE_EXCEEDED: a shard has not
  // written its part within the patience.
  absl::Status Wait();

 private:
  absl::Status Write(Cut cut, std::chrono::milliseconds patience);
  // Not `complete`: it lacks what a shard held.
  absl::Status Commit(const StagedCheckpoint& staged, const v1::CheckpointManifest& manifest, bool complete);

  const std::string checkpoints_;
  const std::vector<std::string> shards_;
  const v1::Peer peer_;
  const uint32_t keep_;
  LearnerMetrics* const metrics_;
  const std::chrono::milliseconds connect_patience_;
  // Touched by the writing thread alone:
  std::string committed_;   // the newest that has everything
  std::string incomplete_;  // a newer one, which lacks what a shard held
  int shard_failures_ = 0;  // in a row

  std::chrono::steady_clock::time_point started_{};
  std::future<absl::Status> writing_;
};

}  // namespace headrace

#endif  // HEADRACE_LEARNER_CHECKPOINT_WRITER_H_
