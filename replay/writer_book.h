// The writers that a table knows: those that are connected, and those that are gone, in case they come back.
//
//   WriterBook writers(&rows);
//   const auto [session, last_sequence] = writers.Open(7, 1);  // the writer goes on with chunk last_sequence + 1
//   ASSIGN_OR_RETURN(Writer * writer, writers.Find(7, session));
//   writers.Close(7, session);                                 // its lanes keep their rows until room is needed
//
// Not thread-safe: the table's mutex guards it.
#ifndef HEADRACE_REPLAY_WRITER_BOOK_H_
#define HEADRACE_REPLAY_WRITER_BOOK_H_

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "proto/checkpoint.pb.h"
#include "proto/replay.pb.h"
#include "replay/lane.h"
#include "replay/row_store.h"

namespace headrace {

class WriterBook {
 public:
  // `rows`, to which the lanes refer, must outlive this.
  explicit WriterBook(RowStore* rows) : rows_(rows) {}

  // A writer's stream: `session` names it in the calls below, `last_sequence` is the last chunk committed.
  struct Opened {
    uint64_t session;
    uint64_t last_sequence;
  };
  // `first_sequence`: the oldest chunk that the writer still has. Those before it that have not come are lost.
  Opened Open(uint64_t id, uint64_t first_sequence);
  // Nothing happens if a newer stream took over.
  void Close(uint64_t id, uint64_t session);
  // Aborted: a newer stream of this writer took over.
  absl::StatusOr<Writer*> Find(uint64_t id, uint64_t session);
  // Releases the rows of the lanes, also of writers that are connected, to which nothing has come for longest. False:
  // to all something has come within the time in which the younger half of the slabs in use was opened.
  bool ForgetIdleLanes();
  // Releases the rows of the lanes of the writer that has been gone for longest. False: none that is gone has lanes.
  bool ForgetOldestLanes();

  bool empty() const { return writers_.empty(); }
  uint32_t connected() const { return connected_; }
  struct Progress {
    uint64_t id, last_sequence, lost_chunks;
  };
  std::vector<Progress> AllProgress() const;

  // For a checkpoint.
  class Saved;
  Saved Save() const;
  // Fills an empty book; windows hold indices of `rows`. DataLoss: they do not fit together.
  absl::Status Restore(const std::vector<v1::WriterCheckpoint>& writers, std::span<const RowStore::Address> rows);

  // Chunks that nobody has any more, in all.
  uint64_t lost_chunks() const { return lost_chunks_; }
  void set_lost_chunks(uint64_t chunks) { lost_chunks_ = chunks; }

 private:
  using RowSet = absl::flat_hash_set<RowStore::Address>;

  void Disconnect(uint64_t id, Writer& writer);
  void ForgetLanes(Writer& writer);
  void Release(const Lane& lane);
  absl::Status RestoreWriter(const v1::WriterCheckpoint& saved, std::span<const RowStore::Address> rows,
                             RowSet& newest_rows);
  absl::StatusOr<Lane> RestoreLane(const v1::LaneCheckpoint& saved, std::span<const RowStore::Address> rows);

  RowStore* const rows_;
  absl::flat_hash_map<uint64_t, Writer> writers_;
  std::deque<uint64_t> disconnected_;        // oldest first
  std::deque<uint64_t> disconnected_lanes_;  // those of them whose lanes are known, oldest first
  size_t lanes_of_disconnected_ = 0;
  uint64_t next_session_ = 1;
  uint32_t connected_ = 0;
  uint64_t lost_chunks_ = 0;
  uint64_t no_newest_row_before_ = 0;  // of any lane, in openings of slabs
};

// A copy that is made in a moment, whatever becomes of it afterwards.
class WriterBook::Saved {
 public:
  // Windows hold addresses.
  std::vector<v1::WriterCheckpoint> ToMessages(const std::string& table) const;

 private:
  friend class WriterBook;
  struct SavedLane {
    uint32_t number;
    size_t window_size;
    LaneProgress progress;
  };
  struct SavedWriter {
    uint64_t id, last_sequence, lost_chunks;
    bool lanes_forgotten;
    size_t lanes;
  };
  std::vector<SavedWriter> writers_;
  std::vector<SavedLane> lanes_;            // of the first writer, of the second, and so on
  std::vector<RowStore::Address> windows_;  // of the first lane, ...
};

}  // namespace headrace

#endif  // HEADRACE_REPLAY_WRITER_BOOK_H_
