// What tables over the same rows share: the rows, the writers that they come from, and who waits for steps.
//
//   Table "uniform" ──┐                ┌─ RowStore: each step once
//     its own items   ├──▶ ChunkStore ─┼─ WriterBook: the lanes that the rows are of
//   Table "queue" ────┘        │       └─ the mutex, of the tables' items, too
//     its own items ◀─ tables ─┘
//
// A row goes when no item of any table has it, so one mutex guards the items of all of them. Chunks come in through the
// first table, whose rows they are.
//
// Thread-safe where its mutex is held.
#ifndef HEADRACE_REPLAY_CHUNK_STORE_H_
#define HEADRACE_REPLAY_CHUNK_STORE_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "common/mutex.h"
#include "proto/replay.pb.h"
#include "replay/row_layout.h"
#include "replay/row_store.h"
#include "replay/wait_list.h"
#include "replay/writer_book.h"

namespace headrace {

class Table;

// What takes its mutex often in a row pauses so long in between: a thread that waits for it would hardly ever be awake
// in time to get it.
inline constexpr std::chrono::microseconds kLetOthersIn{50};

struct ChunkStore {
  using Callback = std::function<void()>;
  using Callbacks = absl::flat_hash_map<const void*, Callback>;  // by owner
  struct Watch {
    uint64_t inserted_steps;
    Callback callback;
  };
  struct NotDurable {
    uint64_t journal_entry;
    uint64_t inserted_steps;  // with those of this entry
    bool tell_all;            // watchers are woken whatever they watch for
  };

  ChunkStore(RowLayout row_layout, uint64_t row_bytes, bool singly)
      : layout(std::move(row_layout)),
        rows({.stride = layout.stride(),
              .least = layout.least_row_bytes(),
              .most = layout.most_row_bytes(),
              .singly = singly},
             row_bytes),
        writers(&rows) {}

  const RowLayout layout;
  std::atomic<uint64_t> policy_version = 0;

  mutable Mutex mutex;
  RowStore rows;  // the rows themselves are read and written without the mutex, see RowStore
  // First the one with the rows, then those over it; their specifications in the same order.
  std::vector<Table*> tables ABSL_GUARDED_BY(mutex);
  std::vector<const v1::TableSpec*> specs ABSL_GUARDED_BY(mutex);
  WriterBook writers ABSL_GUARDED_BY(mutex);
  uint64_t inserted_steps ABSL_GUARDED_BY(mutex) = 0;
  std::deque<NotDurable> not_durable ABSL_GUARDED_BY(mutex);  // in the order of the journal
  uint64_t durable_entries ABSL_GUARDED_BY(mutex) = 0;        // of the journal
  uint64_t durable_steps ABSL_GUARDED_BY(mutex) = 0;          // of those inserted
  WaitList waiting_writers ABSL_GUARDED_BY(mutex);
  Callbacks waiting_acknowledgements ABSL_GUARDED_BY(mutex);
  absl::flat_hash_map<const void*, Watch> watches ABSL_GUARDED_BY(mutex);  // by owner
  bool limited ABSL_GUARDED_BY(mutex) = true;                              // insertion waits where a limit is reached
};

}  // namespace headrace

#endif  // HEADRACE_REPLAY_CHUNK_STORE_H_
