// Rows of several lanes on their way into a chunk: collected as they come, then laid out as whole columns with the
// segments and items that describe them. Compressed columns are compressed here, row by row.
//
//   builder.Append(lane, columns, v1::NOT_ENDED);      // row t: observation, action, reward, flags
//   builder.Append(lane, columns, v1::TERMINATED);     // the final observation ends the episode
//   grpc::Slice message = builder.Build(sequence);
//
// Not thread-safe.
#ifndef HEADRACE_REPLAY_CHUNK_BUILDER_H_
#define HEADRACE_REPLAY_CHUNK_BUILDER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "grpcpp/support/slice.h"
#include "proto/replay.pb.h"
#include "replay/row_layout.h"

namespace headrace {

// Which items a lane's rows become: one of `rows` rows at every `stride`-th row of an episode, and where the episode
// ends before that, one of as many as there are, down to `least_rows`. Or, spanning episodes, at every `stride`-th row
// of the lane. Or, with `until_cut`, one of all rows up to each v1::CUT.
struct ItemPattern {
  uint32_t rows = 2;
  uint32_t stride = 1;
  uint32_t least_rows = UINT32_MAX;  // no item is shorter than `rows`
  bool span_episodes = false;
  bool until_cut = false;
};

// Which items they become for another table, which is over the one that is written to.
struct TablePattern {
  std::string table;
  ItemPattern pattern;
};

class ChunkBuilder {
 public:
  ChunkBuilder(RowLayout layout, ItemPattern pattern, std::vector<TablePattern> others = {});

  // One row: for each column of the layout its bytes. With an `end` it is an episode's final row.
  void Append(uint32_t lane, std::span<const std::byte* const> columns, v1::EpisodeEnd end);

  // Of the items that rows appended from now on complete, in every table: finite and not negative. nullopt, as at
  // first: what a table gives an item without one, its highest so far.
  void SetPriority(std::optional<float> priority) { priority_ = priority; }

  // Rows since the last Build.
  size_t rows() const { return rows_; }
  // The rows as an InsertRequest. rows() must not be 0.
  grpc::Slice Build(uint64_t sequence);

 private:
  struct Cells {
    std::vector<uint32_t> sizes;
    std::vector<std::byte> bytes;
  };
  // Of one table in a lane.
  struct Items {
    uint64_t next_row = 0;          // where the next item starts
    std::vector<v1::ItemRun> runs;  // since the last Build
  };
  struct Lane {
    uint64_t next_row = 0;
    bool in_episode = false;
    std::vector<Items> items;  // for each of patterns_
    // Since the last Build:
    size_t rows = 0;
    std::vector<std::vector<std::byte>> values;  // of each column that is not compressed: of rows, then room for more
    std::vector<Cells> cells;                    // of each compressed column
    std::vector<v1::Segment> segments;
  };

  void AddItems(uint32_t number, const Lane& lane, const TablePattern& made, Items& items);
  void AddItem(uint32_t number, const TablePattern& made, Items& items, uint32_t rows);

  const RowLayout layout_;
  std::vector<TablePattern> patterns_;  // first that of the table which is written to, without a name
  std::vector<Lane> lanes_;
  std::optional<float> priority_;
  size_t rows_ = 0;
};

}  // namespace headrace

#endif  // HEADRACE_REPLAY_CHUNK_BUILDER_H_
