// One shard: its tables, and which run and which life of the process they belong to.
//
// Thread-safe.
#ifndef HEADRACE_REPLAY_SHARD_H_
#define HEADRACE_REPLAY_SHARD_H_

#include <atomic>
#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "proto/replay.pb.h"
#include "replay/journal.h"
#include "replay/table.h"

namespace headrace {

class Shard {
 public:
  // `incarnation` must be higher than in every earlier life of this shard. `shards`: how many the run has; 0: not
  // known.
  Shard(uint32_t number, uint64_t budget_bytes, uint64_t incarnation, uint32_t shards = 0)
      : number_(number), shards_(shards), budget_bytes_(budget_bytes), incarnation_(incarnation) {}

  uint32_t number() const { return number_; }
  uint32_t shards() const { return shards_; }
  uint64_t incarnation() const { return incarnation_; }
  v1::InfoResponse Info() const ABSL_LOCKS_EXCLUDED(mutex_);
  std::string run_id() const ABSL_LOCKS_EXCLUDED(mutex_);
  // The checkpoint this shard was restored from; empty: it started without one.
  std::string restored_from() const ABSL_LOCKS_EXCLUDED(mutex_);

  // FailedPrecondition: another protocol or run; the message names both. A peer that knows no run yet passes.
  absl::Status CheckPeer(const v1::Peer& peer) const ABSL_LOCKS_EXCLUDED(mutex_);
  // See Replay.CreateTable. The first learner's run becomes the shard's. `redistribution`: a table that is new is
  // filled with it; null: it is empty.
  absl::StatusOr<Table*> CreateTable(const v1::Peer& peer, const v1::TableSpec& spec,
                                     const v1::Redistribution* redistribution = nullptr)
      ABSL_LOCKS_EXCLUDED(creating_, mutex_);
  // NotFound: lists the tables there are. Tables live as long as the shard.
  absl::StatusOr<Table*> FindTable(const std::string& name) const ABSL_LOCKS_EXCLUDED(mutex_);
  // For writers. InvalidArgument: the table is over another one, which is to be written to.
  absl::StatusOr<Table*> FindTableWithRows(const std::string& name) const ABSL_LOCKS_EXCLUDED(mutex_);
  // Those with rows of their own come first.
  std::vector<Table*> Tables() const ABSL_LOCKS_EXCLUDED(mutex_);
  // In the same order.
  std::vector<v1::TableSpec> Specs() const ABSL_LOCKS_EXCLUDED(mutex_);

  // Learners that grant insertion and are connected now.
  void CoordinatorCame() { ++coordinators_; }
  void CoordinatorLeft() { --coordinators_; }
  int coordinators() const { return coordinators_; }

  // Before anybody is served: from now on tables and chunks go there. Null: there is none.
  void SetJournal(std::unique_ptr<Journal> journal);
  Journal* journal() const { return journal_.get(); }

  // For restoring, before anybody is served. Clear drops what a damaged checkpoint has left.
  void Clear() ABSL_LOCKS_EXCLUDED(mutex_);
  void SetRestored(const std::string& run_id, const std::string& checkpoint) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  // Null: there is none. FailedPrecondition: it has another specification, or the peer is of another run.
  absl::StatusOr<Table*> FindSame(const v1::Peer& peer, const v1::TableSpec& spec) const ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<Table*> CreateTableAlone(const v1::Peer& peer, const v1::TableSpec& spec,
                                          const v1::Redistribution* redistribution)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(creating_) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<std::unique_ptr<Table>> MakeTable(const v1::Peer& peer, const v1::TableSpec& spec,
                                                   const v1::Redistribution* redistribution)
      ABSL_LOCKS_EXCLUDED(mutex_);

  const uint32_t number_;
  const uint32_t shards_;
  const uint64_t budget_bytes_;
  const uint64_t incarnation_;
  std::atomic<int> coordinators_ = 0;

  Mutex creating_;  // of one table at a time, which may take long
  mutable Mutex mutex_;
  std::string run_id_ ABSL_GUARDED_BY(mutex_);
  std::string restored_from_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::unique_ptr<Table>> tables_ ABSL_GUARDED_BY(mutex_);

  std::unique_ptr<Journal> journal_;  // the last: its thread tells the tables what is durable
};

}  // namespace headrace

#endif  // HEADRACE_REPLAY_SHARD_H_
