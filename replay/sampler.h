// Samples M shards as one table, ahead of need, and holds the ratio of updates to environment steps.
//
//   ASSIGN_OR_RETURN(std::unique_ptr<ReplaySampler> sampler, ReplaySampler::Start(options));
//   ASSIGN_OR_RETURN(ReplaySampler::Filled batch, sampler->Next(deadline));   // batch.slot: where it lies
//   ... learn from slot, whose items were drawn with sampler->probabilities(batch.slot) ...
//   sampler->UpdatePriorities(batch.slot, priorities);
//   sampler->Done(batch.slot, policy_version);
//
// Uniform means uniform over all items, prioritised in proportion to the mass of all of them: how many of a batch's
// items each shard draws is itself drawn, in proportion to what the shards hold. A shard that dies shrinks the table,
// and what it owed is drawn from the others; one that returns rejoins. Batches are delivered in the order in which they
// were drawn.
//
// The sampler alone owns the ratio: batch k is drawn when enough steps have been inserted, and the shards are granted
// further steps as updates are done. Nothing is drawn from fewer steps than Ratio::min_steps either, when shards have
// come back without theirs.
//
// Thread-safe. Slots are written by gRPC's threads between Done and Next.
#ifndef HEADRACE_REPLAY_SAMPLER_H_
#define HEADRACE_REPLAY_SAMPLER_H_

#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "proto/replay.pb.h"
#include "replay/ratio.h"
#include "replay/shard_connection.h"

namespace headrace {

struct ReplaySamplerOptions {
  std::vector<std::string> addresses;  // shard i's
  v1::Peer peer;
  v1::TableSpec table;  // created on every shard that lacks it
  std::vector<v1::ColumnSlice> slices;
  bool pad = false;  // SampleOpen.pad
  // No item comes twice in a batch; one is drawn when the shards have as many items. Each shard draws its share without
  // replacement. How many that are is drawn like over one table where all items are alike; where they have priorities,
  // each draw is taken to leave its shard the mean weight of the others.
  bool without_replacement = false;
  uint32_t batch_size = 0;
  Ratio ratio;
  uint64_t seed = 0;
  // Memory for each batch on its way: for each slot, for each slice, the block [batch, rows, column].
  std::vector<std::vector<std::span<std::byte>>> slots;
  // Where a resumed run goes on; for each shard the table's state at the checkpoint, without a name if it is not known.
  uint64_t env_steps = 0;
  uint64_t batches = 0;
  std::vector<v1::TableState> states;
  bool checkpoints = false;  // a shard that writes none is refused
  // For each shard what its table is filled with if the checkpoint is of another number of them; otherwise empty.
  std::vector<v1::Redistribution> redistributions;
};

class ReplaySampler {
 public:
  using Deadline = std::chrono::steady_clock::time_point;
  enum class Wait { kNothing, kShards, kActors, kItems, kBatch };
  struct Filled {
    size_t slot;
    uint64_t batch;  // its number, from 1
    Deadline asked;  // when the shards were asked for it
    Deadline there;  // when all of it was
    Wait wait;       // what it waited for when Next was called, as long as it had not been asked for
  };
  struct Stats {
    uint64_t env_steps = 0;   // inserted over all shards and lives, whatever was lost since
    uint64_t lost_steps = 0;  // that restarted shards no longer had
    uint64_t items = 0;
    uint64_t stored_bytes = 0;
    uint64_t sampled_items = 0;
    uint32_t connected_shards = 0;
    uint64_t disconnections = 0;  // of shards that were connected
    uint32_t writers = 0;
    uint32_t blocked_writers = 0;
    uint32_t ready_batches = 0;
    std::vector<v1::TableState> states;      // the newest of each shard
    std::vector<std::string> restored_from;  // for each shard the checkpoint its life began with; empty: none
    Wait wait = Wait::kNothing;              // what the next batch waits for
    std::string waiting_for;                 // the same in words
  };

  // Connects in the background. InvalidArgument: options that do not fit each other.
  static absl::StatusOr<std::unique_ptr<ReplaySampler>> Start(ReplaySamplerOptions options);
  ~ReplaySampler();

  // The next batch. DeadlineExceeded: none is ready (Stats says what it waits for). Cancelled: Cancel was called.
  // Otherwise what a shard refused the sampler with for good.
  absl::StatusOr<Filled> Next(Deadline deadline) ABSL_LOCKS_EXCLUDED(mutex_);
  // Between Next and Done, of a batch's items in their order: the probability with which a draw gave this item of all
  // shards' (by the masses as they were known when it was drawn).
  std::span<const double> probabilities(size_t slot) const { return origins_[slot].probabilities; }
  // The same of each item's rows, where some are fewer than the slices reach (options.pad).
  std::span<const int32_t> rows(size_t slot) const { return origins_[slot].rows; }
  // Draws other items in place of these of the batch that Next gave last; it then comes once more. What was drawn first
  // is gone where items are drawn once.
  void Redraw(const Filled& filled, std::span<const uint32_t> items) ABSL_LOCKS_EXCLUDED(mutex_);
  // New priorities for a batch's items, between Next and Done. Shards count those whose item is gone meanwhile.
  void UpdatePriorities(size_t slot, std::span<const float> priorities) ABSL_LOCKS_EXCLUDED(mutex_);
  // Gives the slot back and counts one update; in lockstep, writers go on with a policy at least this new.
  void Done(size_t slot, uint64_t policy_version) ABSL_LOCKS_EXCLUDED(mutex_);
  void Cancel() ABSL_LOCKS_EXCLUDED(mutex_);

  Stats stats() const ABSL_LOCKS_EXCLUDED(mutex_);
  uint64_t env_steps() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Why it will never give a batch again; OK: it may.
  absl::Status Fault() const ABSL_LOCKS_EXCLUDED(mutex_);
  // True once every shard has been connected.
  bool WaitConnected(Deadline deadline) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Shard {
    std::unique_ptr<ShardConnection> connection;
    bool connected = false;
    bool known = false;  // `state` is of this run
    v1::TableState state;
    std::string restored_from;
    uint64_t granted = 0;    // the newest insert limit sent
    uint64_t notify_at = 0;  // 0: nothing was sent on this connection
  };
  // A part of a batch that one shard was asked for.
  struct Piece {
    uint64_t batch;
    size_t shard;
    uint32_t first;  // item of the batch
    uint32_t count;
    double share;  // of all mass, that the shard had
  };
  // Where the items of a slot's batch are from.
  struct Origins {
    struct Key {
      size_t shard;
      uint64_t incarnation;
      uint64_t key;
    };
    std::vector<Key> keys;
    std::vector<double> probabilities;
    std::vector<int32_t> rows;
  };
  struct Pending {
    size_t slot;
    uint32_t missing;  // items
    Deadline asked;
    Deadline there = {};
  };

  // What is to be said to shards, in this order to each.
  struct Outgoing {
    std::vector<std::pair<ShardConnection*, v1::SampleRequest>> requests;
    std::vector<std::pair<ShardConnection*, v1::CoordinateRequest>> grants;
    std::vector<std::pair<ShardConnection*, v1::UpdatePrioritiesRequest>> priorities;
  };

  explicit ReplaySampler(ReplaySamplerOptions options);

  // Of the thread that talks to the shards: neither the learner nor the streams that bring its batches wait for that.
  void Talk() ABSL_LOCKS_EXCLUDED(mutex_);
  // Whatever changes what may be asked for ends with it.
  void Proceed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Says what may be asked for now.
  void Ask() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool DrawNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool RedrawOrphans() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool RedrawBatch(uint64_t batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Draw(uint64_t batch, uint32_t first, uint32_t count, uint64_t salt) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Grant() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Remember(const Piece& piece, const v1::SampleResponse& head) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  double MassLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint64_t DrawableLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Of the steps without which nothing is learned, those that the shards do not have: at first, or after a loss.
  uint64_t MissingStepsLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Wait WaitLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::string WaitingFor() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void UpdateState(size_t shard, const v1::TableState& state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void OnConnected(size_t shard, const v1::CreateTableResponse& created) ABSL_LOCKS_EXCLUDED(mutex_);
  void OnState(size_t shard, const v1::TableState& state) ABSL_LOCKS_EXCLUDED(mutex_);
  void OnDisconnected(size_t shard, const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);
  void OnSample(size_t shard, const grpc::ByteBuffer& message) ABSL_LOCKS_EXCLUDED(mutex_);

  const ReplaySamplerOptions options_;
  const bool distinct_;             // without replacement, where that says more than that an item is sampled once
  std::vector<size_t> item_bytes_;  // of each slice
  int32_t slice_rows_ = 0;          // that the slices reach to
  std::vector<Origins> origins_;    // for each slot; like its memory, the caller's between Next and Done

  mutable Mutex mutex_;
  ConditionVariable ready_;    // for Next
  ConditionVariable changed_;  // for Talk
  bool ask_ ABSL_GUARDED_BY(mutex_) = false;
  Outgoing outgoing_ ABSL_GUARDED_BY(mutex_);
  std::vector<Shard> shards_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, Piece> pieces_ ABSL_GUARDED_BY(mutex_);     // by request number
  std::vector<Piece> orphans_ ABSL_GUARDED_BY(mutex_);           // of shards that died, to be drawn elsewhere
  std::map<uint64_t, Pending> pending_ ABSL_GUARDED_BY(mutex_);  // by batch, until delivered
  std::vector<size_t> free_slots_ ABSL_GUARDED_BY(mutex_);
  uint64_t env_steps_ ABSL_GUARDED_BY(mutex_);
  uint64_t lost_steps_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t disconnections_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t drawn_ ABSL_GUARDED_BY(mutex_);      // batches asked for
  uint64_t delivered_ ABSL_GUARDED_BY(mutex_);  // batches handed out
  uint64_t updates_ ABSL_GUARDED_BY(mutex_);    // batches done with
  uint64_t next_request_ ABSL_GUARDED_BY(mutex_) = 1;
  uint64_t policy_version_ ABSL_GUARDED_BY(mutex_) = 0;
  bool lacks_items_ ABSL_GUARDED_BY(mutex_) = false;  // for a batch that the ratio allows
  // The newest answer said so, whatever the shards' states say: they do not know of min_items, or of a queue's batch.
  bool refused_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status fatal_ ABSL_GUARDED_BY(mutex_);

  std::thread talking_;
};

}  // namespace headrace

#endif  // HEADRACE_REPLAY_SAMPLER_H_
