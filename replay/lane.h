// What a shard remembers of a writer: which chunks it has committed, and for each lane the newest rows, so that later
// items can refer to rows of earlier chunks.
//
// Not thread-safe: the table's mutex guards it.
#ifndef HEADRACE_REPLAY_LANE_H_
#define HEADRACE_REPLAY_LANE_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "proto/replay.pb.h"
#include "replay/row_store.h"

namespace headrace {

struct LaneProgress {
  uint64_t next_row = 0;           // number of the row that comes next, counted from the lane's start
  uint64_t episode_first_row = 0;  // of the episode in progress
  bool in_episode = false;
  // After lost chunks the lane goes on somewhere: any row may come next, and items that reach back before it, or whose
  // context would, are lost.
  bool broken = false;
  uint64_t lost_before = 0;
};

struct Lane : LaneProgress {
  std::vector<RowStore::Address> window;  // the newest rows, oldest first; each is referenced once

  uint64_t first_row() const { return next_row - window.size(); }
};

struct Writer {
  uint64_t session = 0;  // of its newest stream; older ones are stale
  bool connected = false;
  uint64_t last_sequence = 0;
  uint64_t lost_chunks = 0;
  // Lanes that are not in the map are as after lost chunks: they were known once, perhaps.
  bool lanes_forgotten = false;
  absl::flat_hash_map<uint32_t, Lane> lanes;
  size_t lanes_before_pruning = kLanesBeforePruning;

  static constexpr size_t kLanesBeforePruning = 1024;
  // Of many lanes those are forgotten that hold no rows, as others do that have ended: a writer may begin new ones for
  // ever. Any row may come next in them.
  void PruneLanes();

  Lane& LaneOf(uint32_t number) {
    const auto [lane, is_new] = lanes.try_emplace(number);
    if (is_new) lane->second.broken = lanes_forgotten;
    return lane->second;
  }
};

struct ChunkSize {
  size_t rows = 0;
  size_t steps = 0;
  size_t items = 0;
};

inline constexpr uint32_t kMaxLanesPerWriter = 1 << 16;

// Of a lane that goes on with this segment after rows were lost: items that begin before that row are lost, because of
// rows that they should have, or be able to look back to, nobody knows.
uint64_t FirstUsableRow(const v1::Segment& segment, const v1::TableSpec& spec);

// Of the table that is written to, which comes first, and those over it: the index of the one that the run's items are
// for. tables.size(): it is none of them.
size_t TableOf(const v1::ItemRun& run, std::span<const v1::TableSpec* const> tables);

// Whether the chunk continues the writer's lanes and its items lie within their episodes, or, where the tables' may
// span episodes, within their lanes. InvalidArgument: it does not; the message says what was expected. NotFound: it has
// items for another table than these.
absl::StatusOr<ChunkSize> CheckChunk(const Writer& writer, const v1::ChunkHeader& chunk,
                                     std::span<const v1::TableSpec* const> tables);

}  // namespace headrace

#endif  // HEADRACE_REPLAY_LANE_H_
