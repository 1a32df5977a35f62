// One table of a shard: its items and limits, over rows that are its own or another table's (replay/chunk_store.h).
//
// Insertion: without the mutex the payload's numbers are checked; under it the chunk is checked and room is made for
// it; without it the payload is copied; under it again rows are linked and items appear. Sampling draws under the mutex
// and copies without it. What cannot be done yet answers kWait, and the given waiter is woken once, on another thread
// and without the mutex, when it is worth another try.
//
//   Writer.stream ──Insert──▶ [Table: ItemStore, insert limit ──▶ ChunkStore: rows, writers] ◀──Sample── sampler stream
//                                              ▲
//                                     Coordinate, WatchOnce
//
// Chunks are inserted into the table with the rows, and bring items for it and those over it; they wait for the limits
// of all of them. Tables over the same rows are destroyed together: none is used once another is gone.
//
// Thread-safe.
#ifndef HEADRACE_REPLAY_TABLE_H_
#define HEADRACE_REPLAY_TABLE_H_

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "proto/checkpoint.pb.h"
#include "proto/replay.pb.h"
#include "replay/chunk_store.h"
#include "replay/item_store.h"
#include "replay/lane.h"
#include "replay/payload.h"
#include "replay/row_layout.h"
#include "replay/row_store.h"
#include "replay/table_plan.h"
#include "replay/writer_book.h"

namespace headrace {

class Table {
 public:
  using Callback = ChunkStore::Callback;
  enum class Outcome { kDone, kWait };
  // Of each kind of wait an owner has at most one: a newer one replaces it.
  struct Waiter {
    const void* owner;
    Callback wake;
  };

  // `over`: the table that the specification names; null: this one has rows of its own. InvalidArgument: the
  // specification is not usable, and why.
  static absl::StatusOr<std::unique_ptr<Table>> Create(const v1::TableSpec& spec, uint32_t shard, uint64_t incarnation,
                                                       const Table* over = nullptr);
  // A table over another gets items, and holds insertion back, from now on.
  void Join() ABSL_LOCKS_EXCLUDED(chunks_.mutex);

  const v1::TableSpec& spec() const { return spec_; }
  const RowLayout& layout() const { return chunks_.layout; }
  // Items that there may be at a time, by max_items and max_bytes.
  size_t item_capacity() const ABSL_LOCKS_EXCLUDED(chunks_.mutex) {
    MutexLock lock(&chunks_.mutex);
    return items_.capacity();
  }
  // Of the steps only those that are durable.
  v1::TableState State() const ABSL_LOCKS_EXCLUDED(chunks_.mutex);
  // What is there now is what this life begins with; without it, that of an empty table.
  void BeginLife() ABSL_LOCKS_EXCLUDED(chunks_.mutex);
  v1::TableState RestoredState() const ABSL_LOCKS_EXCLUDED(chunks_.mutex);
  // Of the items removed in this process those that had a place among max_items, but none in max_bytes.
  uint64_t BudgetRemovedItems() const ABSL_LOCKS_EXCLUDED(chunks_.mutex);
  std::vector<v1::WriterInfo> Writers() const ABSL_LOCKS_EXCLUDED(chunks_.mutex);

  using OpenedWriter = WriterBook::Opened;
  OpenedWriter OpenWriter(uint64_t writer, uint64_t first_sequence) ABSL_LOCKS_EXCLUDED(chunks_.mutex);
  void CloseWriter(uint64_t writer, uint64_t session) ABSL_LOCKS_EXCLUDED(chunks_.mutex);

  // Commits a chunk with `payload_bytes` of payload, or drops it if it was committed before. kWait: the insert limit of
  // this table or of one over it is reached; grants wake those who wait in the order in which they came.
  // InvalidArgument: the chunk is not as it must be. NotFound: it has items for a table that is not over this one.
  // Aborted: a newer stream of this writer took over. FailedPrecondition: it can never fit. `committed` is called with
  // the mutex, in the order in which chunks are committed, and returns the number of the journal's entry with the
  // chunk; 0: none has to be waited for.
  absl::StatusOr<Outcome> Insert(uint64_t writer, uint64_t session, const v1::ChunkHeader& chunk,
                                 const ChunkPayload& payload, Waiter retry, absl::FunctionRef<uint64_t()> committed)
      ABSL_LOCKS_EXCLUDED(chunks_.mutex);
  // So many entries of the journal are on disk. The steps in them are told from now on; they must not go back when the
  // shard is killed, for whoever has been told has counted them.
  void SetDurable(uint64_t journal_entries) ABSL_LOCKS_EXCLUDED(chunks_.mutex);
  // Whether committed chunks may be acknowledged now; only in lockstep they must wait for further grants.
  Outcome Acknowledge(Waiter retry) ABSL_LOCKS_EXCLUDED(chunks_.mutex);
  uint64_t policy_version() const { return chunks_.policy_version; }
  // Steps that may be inserted before writers must wait: those that are granted, and in a queue no more than the
  // longest items for which there is place; the fewest of the tables over the same rows. Like what is granted, the last
  // chunk may exceed it.
  uint64_t StepsToLimit() const ABSL_LOCKS_EXCLUDED(chunks_.mutex);

  // A batch that was drawn and not yet gathered. The rows stay as they are while it exists.
  class Batch {
   public:
    Batch() = default;
    Batch(Batch&& other) noexcept { *this = std::move(other); }
    Batch& operator=(Batch&& other) noexcept;
    ~Batch();

    const std::vector<ItemStore::Drawn>& items() const { return items_; }
    const v1::TableState& state() const { return state_; }

   private:
    friend class Table;
    Table* table_ = nullptr;
    uint64_t read_ = 0;
    std::vector<ItemStore::Drawn> items_;
    v1::TableState state_;
  };
  struct Draw {
    uint32_t batch_size;
    uint32_t rows_needed = 1;
    uint64_t random_key = 0;
    bool distinct = false;  // no item twice
  };
  // kWait: there are fewer items than min_items, none can be drawn, or, where items are removed by sampling or must not
  // come twice, fewer than asked for. InvalidArgument: there may be an item with fewer rows than `rows_needed`; more
  // distinct items than the table can hold.
  absl::StatusOr<Outcome> Sample(const Draw& draw, Batch& batch, Waiter retry) ABSL_LOCKS_EXCLUDED(chunks_.mutex);
  void Gather(std::span<const ItemStore::Drawn> items, std::span<const Slice> slices,
              std::span<std::byte* const> blocks) const {
    GatherItems(items, slices, chunks_.layout, chunks_.rows, blocks);
  }
  size_t GatheredBytes(std::span<const ItemStore::Drawn> items, const Slice& slice) const {
    return headrace::GatheredBytes(items, slice, chunks_.layout, chunks_.rows);
  }

  struct PriorityUpdate {
    uint64_t updated = 0;
    uint64_t unknown = 0;  // keys of items that are gone, or of another life of the shard
  };
  // InvalidArgument: numbers that are no priorities, or not as many as keys; nothing is set.
  absl::StatusOr<PriorityUpdate> UpdatePriorities(uint64_t incarnation, std::span<const uint64_t> keys,
                                                  std::span<const float> priorities) ABSL_LOCKS_EXCLUDED(chunks_.mutex);

  // False: while a journal is brought back, since what it holds had its place once. A queue that is full then loses its
  // oldest items.
  void SetLimited(bool limited) ABSL_LOCKS_EXCLUDED(chunks_.mutex);
  void SetInsertLimit(uint64_t insert_limit, uint64_t policy_version) ABSL_LOCKS_EXCLUDED(chunks_.mutex);
  // Wakes the watcher once, when `inserted_steps` have been inserted and are durable, or a writer begins to wait; at
  // once, on this thread, if the steps are.
  void WatchOnce(uint64_t inserted_steps, Waiter watcher) ABSL_LOCKS_EXCLUDED(chunks_.mutex);
  // For an owner that goes: whatever it waits for is forgotten. It may be being woken at this moment.
  void StopWaiting(const void* owner) ABSL_LOCKS_EXCLUDED(chunks_.mutex);

  struct Books {
    v1::TableSpec spec;
    v1::TableState state;
    ItemStore::Copy items;
  };
  // The slabs of rows that a snapshot refers to. They are not reused before they are let go, or this is destroyed.
  class Pins {
   public:
    Pins() = default;
    Pins(Pins&& other) noexcept { *this = std::move(other); }
    Pins& operator=(Pins&& other) noexcept;
    ~Pins();

    // Those with the oldest rows first: in this order they are most likely wanted again.
    const std::vector<RowStore::Pinned>& slabs() const { return slabs_; }
    // So many of those that are left, the first.
    void LetGo(size_t count);

   private:
    friend class Table;
    Table* table_ = nullptr;
    std::vector<RowStore::Pinned> slabs_;
    size_t gone_ = 0;
  };
  // A consistent copy of the books of a table with rows of its own, and of those over it.
  struct Snapshot {
    std::vector<Books> tables;                  // first the one with the rows
    std::vector<v1::WriterCheckpoint> writers;  // their windows hold addresses
    Pins pins;
  };
  // Without what queues hold now, which may have been sampled when it is restored, or with it. The mutex is never held
  // for long, however many items there are.
  Snapshot TakeSnapshot(bool with_queues = false) ABSL_LOCKS_EXCLUDED(snapshot_mutex_, chunks_.mutex);
  // Rows may be read for addresses that a snapshot refers to.
  const RowStore& rows() const { return chunks_.rows; }

  // An empty table is filled from a checkpoint in three steps. First its rows: `read` is asked to fill pieces of memory
  // with so many rows of layout().stride() bytes, one after the other, each with the number of the next row as its
  // link, and followed by its cells, of which the slots have the sizes. Then its books and those of the tables over it,
  // where items and windows hold numbers of rows; `rows` is what the first step has returned. At last the rows to which
  // nothing refers are let go. ResourceExhausted: they do not fit. DataLoss: they do not fit together. After an error
  // the table is of no use.
  using ReadBytes = absl::FunctionRef<absl::Status(std::span<std::byte>)>;
  absl::StatusOr<std::vector<RowStore::Address>> RestoreRows(uint64_t count, ReadBytes read)
      ABSL_LOCKS_EXCLUDED(chunks_.mutex);
  absl::Status RestoreBooks(const v1::TableState& state, const std::vector<v1::WriterCheckpoint>& writers,
                            const std::vector<Item>& items, std::span<const RowStore::Address> rows)
      ABSL_LOCKS_EXCLUDED(chunks_.mutex);
  void ReleaseRestored(std::span<const RowStore::Address> rows) ABSL_LOCKS_EXCLUDED(chunks_.mutex);

 private:
  using Callbacks = ChunkStore::Callbacks;

  Table(const v1::TableSpec& spec, size_t item_capacity, uint32_t shard, uint64_t incarnation,
        std::shared_ptr<ChunkStore> chunks);

  static void WakeAll(const std::vector<Callback>& waiting);
  static void WakeAll(const Callbacks& waiting);

  // For the analysis, which does not know that tables over the same rows have one mutex.
  void AssertLocked() const ABSL_ASSERT_EXCLUSIVE_LOCK(chunks_.mutex) {}
  bool has_own_rows() const { return spec_.over().empty(); }

  v1::TableState StateLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(chunks_.mutex);
  // The bytes of rows that have been reserved, or of `count` rows with their cells, which it reserves.
  absl::Status FillRows(std::span<const RowStore::Address> rows, ReadBytes read)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(chunks_.mutex);
  absl::Status AddRowsWithCells(size_t count, ReadBytes read, std::vector<RowStore::Address>& rows)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(chunks_.mutex);
  // Of the snapshot all but the items, of which copies are begun, of each table one; the slabs in no order.
  Snapshot Cut(std::vector<ItemStore::Copy>& copies, WriterBook::Saved& writers, bool with_queues)
      ABSL_LOCKS_EXCLUDED(chunks_.mutex);
  Books CutBooks(ItemStore::Copy& items, bool with_queues) ABSL_EXCLUSIVE_LOCKS_REQUIRED(chunks_.mutex);
  // Goes on with these copies. Whether there is more to be copied.
  bool CopySome() ABSL_LOCKS_EXCLUDED(chunks_.mutex);
  // Of this table alone: the steps granted, and those that a queue has place for.
  uint64_t GrantedSteps() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(chunks_.mutex);
  uint64_t QueuedSteps() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(chunks_.mutex);
  // Of all tables over the rows.
  uint64_t StepsToLimitLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(chunks_.mutex);
  bool AllHaveGranted() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(chunks_.mutex);
  Table& TableFor(const v1::ItemRun& run) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(chunks_.mutex);
  absl::Status CheckQueues(const v1::ChunkHeader& chunk) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(chunks_.mutex);
  absl::StatusOr<Outcome> MakeRoom(size_t rows, size_t cell_bytes, std::vector<RowStore::Address>& reserved,
                                   std::byte*& cell_block) ABSL_EXCLUSIVE_LOCKS_REQUIRED(chunks_.mutex);
  // Removes items until fewer slabs are used, but of each table no more than lie in one, and none of a queue. Whether
  // there were any.
  bool RemoveOldItems() ABSL_EXCLUSIVE_LOCKS_REQUIRED(chunks_.mutex);
  bool RemoveFromQueues() ABSL_EXCLUSIVE_LOCKS_REQUIRED(chunks_.mutex);
  void RemoveForBytes() ABSL_EXCLUSIVE_LOCKS_REQUIRED(chunks_.mutex);
  void Commit(Writer& writer, const v1::ChunkHeader& chunk, const ChunkSize& size,
              std::span<const RowStore::Address> reserved) ABSL_EXCLUSIVE_LOCKS_REQUIRED(chunks_.mutex);
  void AppendSegment(Lane& lane, const v1::Segment& segment, std::span<const RowStore::Address> rows)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(chunks_.mutex);
  void AddItems(const Lane& lane, const v1::ItemRun& run) ABSL_EXCLUSIVE_LOCKS_REQUIRED(chunks_.mutex);
  // Rows of context that an item has which begins with this row of the lane.
  uint32_t ContextOf(const Lane& lane, uint64_t row) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(chunks_.mutex);
  std::vector<Callback> TakeWaitingSamplers() ABSL_EXCLUSIVE_LOCKS_REQUIRED(chunks_.mutex);
  std::vector<Callback> TakeAdmittedWriters() ABSL_EXCLUSIVE_LOCKS_REQUIRED(chunks_.mutex);
  // Moves durable_steps on, and takes the watches that are due with it.
  std::vector<Callback> TakeDurable() ABSL_EXCLUSIVE_LOCKS_REQUIRED(chunks_.mutex);
  std::vector<Callback> TakeDueWatches(bool all) ABSL_EXCLUSIVE_LOCKS_REQUIRED(chunks_.mutex);

  const v1::TableSpec spec_;
  const uint64_t incarnation_;
  const std::shared_ptr<ChunkStore> owned_chunks_;
  ChunkStore& chunks_;  // *owned_chunks_, as the analysis of its mutex wants it

  Mutex snapshot_mutex_;  // one snapshot at a time; taken before the other
  ItemStore items_ ABSL_GUARDED_BY(chunks_.mutex);
  RandomStream removal_random_ ABSL_GUARDED_BY(chunks_.mutex);
  v1::TableState restored_state_ ABSL_GUARDED_BY(chunks_.mutex);
  uint64_t insert_limit_ ABSL_GUARDED_BY(chunks_.mutex);
  uint64_t policy_version_ ABSL_GUARDED_BY(chunks_.mutex) = 0;
  uint64_t uncommitted_items_ ABSL_GUARDED_BY(chunks_.mutex) = 0;  // of chunks that have room and are being copied
  uint64_t inserted_items_ ABSL_GUARDED_BY(chunks_.mutex) = 0;
  uint64_t sampled_items_ ABSL_GUARDED_BY(chunks_.mutex) = 0;
  uint64_t sampled_steps_ ABSL_GUARDED_BY(chunks_.mutex) = 0;
  uint64_t lost_items_ ABSL_GUARDED_BY(chunks_.mutex) = 0;
  uint64_t budget_removed_items_ ABSL_GUARDED_BY(chunks_.mutex) = 0;
  uint64_t priority_updates_ ABSL_GUARDED_BY(chunks_.mutex) = 0;
  uint64_t unknown_priority_keys_ ABSL_GUARDED_BY(chunks_.mutex) = 0;
  Callbacks waiting_samplers_ ABSL_GUARDED_BY(chunks_.mutex);
};

}  // namespace headrace

#endif  // HEADRACE_REPLAY_TABLE_H_
