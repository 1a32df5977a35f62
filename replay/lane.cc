#include "replay/lane.h"

#include <algorithm>
#include <iterator>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "replay/item_store.h"
#include "replay/wire.h"

namespace headrace {
namespace {

// Rows that an item may lie in: those of an episode, or of the whole lane where items span episodes.
struct RowRange {
  uint64_t begin;
  uint64_t end;  // one past the last row that has arrived
};

// What a lane will look like with the chunk's segments added.
struct LanePreview {
  uint64_t next_row = 0;
  bool in_episode = false;
  bool broken = false;
  uint64_t lost_before = 0;
  std::vector<RowRange> ranges = {};  // that later items may lie in, oldest first
};

// Row numbers stay below this, so that sums of them cannot wrap around.
constexpr uint64_t kMaxRowNumber = uint64_t{1} << 62;

using Previews = absl::flat_hash_map<uint32_t, LanePreview>;

LanePreview Preview(const Writer& writer, uint32_t lane_number, bool span_episodes) {
  const auto found = writer.lanes.find(lane_number);
  if (found == writer.lanes.end()) return {.broken = writer.lanes_forgotten};
  const Lane& lane = found->second;
  LanePreview preview = {lane.next_row, lane.in_episode, lane.broken, lane.lost_before, {}};
  if (!lane.broken && (lane.in_episode || span_episodes)) {
    const uint64_t begin = span_episodes ? lane.first_row() : std::max(lane.episode_first_row, lane.first_row());
    preview.ranges.push_back({begin, lane.next_row});
  }
  return preview;
}

absl::Status AddSegment(const v1::Segment& segment, const v1::TableSpec& spec, LanePreview& lane) {
  const bool span_episodes = spec.items_span_episodes();
  if (segment.rows() == 0) return absl::InvalidArgumentError("expected segments of at least one row, got an empty one");
  if (segment.first_row() >= kMaxRowNumber) {
    return absl::InvalidArgumentError(
        absl::StrFormat("lane %d: expected rows below %d, got %d", segment.lane(), kMaxRowNumber, segment.first_row()));
  }
  if (lane.broken) {
    lane.lost_before = FirstUsableRow(segment, spec);
    lane.in_episode = !segment.episode_start();
    if (lane.in_episode) lane.ranges.push_back({segment.first_row(), segment.first_row()});
  } else if (segment.first_row() != lane.next_row) {
    return absl::InvalidArgumentError(absl::StrFormat("lane %d: expected its row %d next, got row %d", segment.lane(),
                                                      lane.next_row, segment.first_row()));
  }
  lane.broken = false;
  if (!v1::EpisodeEnd_IsValid(segment.end())) {
    return absl::InvalidArgumentError(absl::StrFormat("lane %d: row %d: %d is no end of an episode", segment.lane(),
                                                      segment.first_row(), static_cast<int>(segment.end())));
  }
  if (segment.episode_start() == lane.in_episode) {
    return absl::InvalidArgumentError(absl::StrFormat("lane %d: row %d %s", segment.lane(), segment.first_row(),
                                                      lane.in_episode
                                                          ? "starts an episode before the last one has ended"
                                                          : "continues an episode that was not started"));
  }
  if (segment.episode_start() && !(span_episodes && !lane.ranges.empty())) {
    lane.ranges.push_back({segment.first_row(), segment.first_row()});
  }
  lane.next_row = segment.first_row() + segment.rows();
  lane.ranges.back().end = lane.next_row;
  lane.in_episode = segment.end() == v1::NOT_ENDED;
  return absl::OkStatus();
}

absl::Status CheckItems(const v1::ItemRun& run, const LanePreview& lane, const v1::TableSpec& spec) {
  const auto refuse = [&](const std::string& why) {
    return absl::InvalidArgumentError(absl::StrFormat("items of lane %d from row %d (%d of %d rows, stride %d): %s",
                                                      run.lane(), run.first_row(), run.count(), run.rows(),
                                                      run.stride(), why));
  };
  const uint32_t least = std::max<uint32_t>(1, spec.min_item_rows());
  const uint32_t most = spec.max_item_rows() - spec.context_rows();
  if (run.rows() < least || run.rows() > most) return refuse(absl::StrFormat("expected %d to %d rows", least, most));
  if (run.count() == 0 || (run.count() > 1 && run.stride() == 0))
    return refuse("expected a count and a stride above 0");
  if (run.first_row() >= kMaxRowNumber || run.stride() > kMaxRowsPerChunk) return refuse("row or stride too large");
  if (!run.priorities().empty() && static_cast<uint32_t>(run.priorities_size()) != run.count()) {
    return refuse(absl::StrFormat("expected a priority for each or none, got %d", run.priorities_size()));
  }
  for (const float priority : run.priorities()) {
    if (!IsPriority(priority)) {
      return refuse(absl::StrFormat("expected finite priorities of 0 or more, got %g", priority));
    }
  }
  for (uint64_t i = 0; i < run.count(); ++i) {
    const uint64_t begin = run.first_row() + i * run.stride();
    if (begin < lane.lost_before) continue;  // counted as lost when the chunk is committed
    // The last range that begins at or before the item's first row.
    const auto after = std::upper_bound(lane.ranges.begin(), lane.ranges.end(), begin,
                                        [](uint64_t row, const RowRange& range) { return row < range.begin; });
    if (after == lane.ranges.begin() || begin + run.rows() > std::prev(after)->end) {
      return refuse(absl::StrFormat("the rows from %d on are not, or no longer, rows of one %s", begin,
                                    spec.items_span_episodes() ? "lane" : "episode"));
    }
  }
  return absl::OkStatus();
}

absl::Status NoSuchTable(const v1::ItemRun& run, std::span<const v1::TableSpec* const> tables) {
  const auto name = [](std::string* out, const v1::TableSpec* table) { out->append(table->name()); };
  return absl::NotFoundError(
      absl::StrFormat("items for table \"%s\", expected those of %s", run.table(), absl::StrJoin(tables, ", ", name)));
}

}  // namespace

void Writer::PruneLanes() {
  if (lanes.size() <= lanes_before_pruning) return;
  const size_t forgotten = absl::erase_if(lanes, [](const auto& lane) { return lane.second.window.empty(); });
  lanes_forgotten |= forgotten > 0;
  lanes_before_pruning = std::max(kLanesBeforePruning, 2 * lanes.size());
}

uint64_t FirstUsableRow(const v1::Segment& segment, const v1::TableSpec& spec) {
  return segment.first_row() + (segment.episode_start() ? 0 : spec.context_rows());
}

size_t TableOf(const v1::ItemRun& run, std::span<const v1::TableSpec* const> tables) {
  if (run.table().empty()) return 0;
  const auto named = [&](const v1::TableSpec* table) { return table->name() == run.table(); };
  return static_cast<size_t>(std::find_if(tables.begin(), tables.end(), named) - tables.begin());
}

absl::StatusOr<ChunkSize> CheckChunk(const Writer& writer, const v1::ChunkHeader& chunk,
                                     std::span<const v1::TableSpec* const> tables) {
  const v1::TableSpec& spec = *tables.front();
  const bool span_episodes = spec.items_span_episodes();
  ChunkSize size;
  Previews lanes;
  for (const v1::Segment& segment : chunk.segments()) {
    if (segment.lane() >= kMaxLanesPerWriter) {
      return absl::InvalidArgumentError(
          absl::StrFormat("expected lanes below %d, got %d", kMaxLanesPerWriter, segment.lane()));
    }
    auto lane = lanes.find(segment.lane());
    if (lane == lanes.end()) lane = lanes.emplace(segment.lane(), Preview(writer, segment.lane(), span_episodes)).first;
    if (absl::Status status = AddSegment(segment, spec, lane->second); !status.ok()) return status;
    size.rows += segment.rows();
    size.steps += segment.rows() - (segment.end() == v1::NOT_ENDED ? 0 : 1);
    if (size.rows > kMaxRowsPerChunk) {
      return absl::InvalidArgumentError(absl::StrFormat("expected at most %d rows in a chunk", kMaxRowsPerChunk));
    }
  }
  for (const v1::ItemRun& run : chunk.items()) {
    const auto lane = lanes.find(run.lane());
    if (lane == lanes.end()) {
      return absl::InvalidArgumentError(
          absl::StrFormat("items of lane %d, of which the chunk has no rows", run.lane()));
    }
    size.items += run.count();
    if (size.items > kMaxRowsPerChunk) {
      return absl::InvalidArgumentError(absl::StrFormat("expected at most %d items in a chunk", kMaxRowsPerChunk));
    }
    const size_t table = TableOf(run, tables);
    if (table == tables.size()) return NoSuchTable(run, tables);
    if (absl::Status status = CheckItems(run, lane->second, *tables[table]); !status.ok()) return status;
  }
  return size;
}

}  // namespace headrace
