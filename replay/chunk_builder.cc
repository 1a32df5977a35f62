#include "replay/chunk_builder.h"

#include <algorithm>
#include <utility>

#include "replay/cell.h"
#include "replay/copy_value.h"
#include "replay/wire.h"

namespace headrace {

ChunkBuilder::ChunkBuilder(RowLayout layout, ItemPattern pattern, std::vector<TablePattern> others)
    : layout_(std::move(layout)), patterns_({{.table = "", .pattern = pattern}}) {
  for (TablePattern& other : others) patterns_.push_back(std::move(other));
}

void ChunkBuilder::Append(uint32_t number, std::span<const std::byte* const> columns, v1::EpisodeEnd end) {
  while (number >= lanes_.size()) {
    Lane& added = lanes_.emplace_back();
    added.items.resize(patterns_.size());
    added.values.resize(layout_.columns().size());
    added.cells.resize(layout_.compressed_columns());
  }
  Lane& lane = lanes_[number];
  if (lane.segments.empty() || !lane.in_episode) {
    v1::Segment& segment = lane.segments.emplace_back();
    segment.set_lane(number);
    segment.set_first_row(lane.next_row);
    segment.set_episode_start(!lane.in_episode);
    for (size_t i = 0; i < patterns_.size() && !lane.in_episode; ++i) {
      const ItemPattern& pattern = patterns_[i].pattern;
      if (!pattern.span_episodes && !pattern.until_cut) lane.items[i].next_row = lane.next_row;
    }
  }
  auto cells = lane.cells.begin();
  for (size_t i = 0; i < columns.size(); ++i) {
    const RowLayout::ColumnLayout& column = layout_.columns()[i];
    if (column.compressed) {
      cells->sizes.push_back(Deflate({columns[i], column.bytes}, cells->bytes));
      ++cells;
      continue;
    }
    std::vector<std::byte>& values = lane.values[i];
    const size_t end_of_values = lane.rows * column.bytes;
    if (end_of_values == values.size()) values.resize(std::max(column.bytes, 2 * end_of_values));
    CopyValue(values.data() + end_of_values, columns[i], column.bytes);
  }
  ++lane.rows;
  v1::Segment& segment = lane.segments.back();
  segment.set_rows(segment.rows() + 1);
  segment.set_end(end);
  lane.in_episode = end == v1::NOT_ENDED;
  ++lane.next_row;
  ++rows_;
  for (size_t i = 0; i < patterns_.size(); ++i) {
    Items& items = lane.items[i];
    if (!patterns_[i].pattern.until_cut) {
      AddItems(number, lane, patterns_[i], items);
    } else if (end == v1::CUT) {
      AddItem(number, patterns_[i], items, static_cast<uint32_t>(lane.next_row - items.next_row));
      items.next_row = lane.next_row;
    }
  }
}

void ChunkBuilder::AddItems(uint32_t number, const Lane& lane, const TablePattern& made, Items& items) {
  const ItemPattern& pattern = made.pattern;
  if (items.next_row + pattern.rows <= lane.next_row) AddItem(number, made, items, pattern.rows);
  if (lane.in_episode) return;
  while (items.next_row + pattern.least_rows <= lane.next_row) {
    AddItem(number, made, items, static_cast<uint32_t>(lane.next_row - items.next_row));
  }
}

void ChunkBuilder::AddItem(uint32_t number, const TablePattern& made, Items& items, uint32_t rows) {
  const uint32_t stride = made.pattern.stride;
  const bool continues = !items.runs.empty() && items.runs.back().rows() == rows &&
                         items.runs.back().priorities().empty() != priority_.has_value() &&
                         items.runs.back().first_row() + uint64_t{items.runs.back().count()} * stride == items.next_row;
  if (continues) {
    items.runs.back().set_count(items.runs.back().count() + 1);
  } else {
    v1::ItemRun& run = items.runs.emplace_back();
    run.set_lane(number);
    run.set_first_row(items.next_row);
    run.set_rows(rows);
    run.set_count(1);
    run.set_stride(stride);
    if (!made.table.empty()) run.set_table(made.table);
  }
  if (priority_.has_value()) items.runs.back().add_priorities(*priority_);
  items.next_row += stride;
}

grpc::Slice ChunkBuilder::Build(uint64_t sequence) {
  v1::ChunkHeader header;
  header.set_sequence(sequence);
  size_t payload_bytes = rows_ * layout_.fixed_bytes();
  for (Lane& lane : lanes_) {
    for (v1::Segment& segment : lane.segments) header.add_segments()->Swap(&segment);
    for (Items& items : lane.items) {
      for (v1::ItemRun& run : items.runs) header.add_items()->Swap(&run);
    }
    for (const Cells& cells : lane.cells) payload_bytes += cells.bytes.size();
  }
  for (size_t i = 0; i < layout_.compressed_columns(); ++i) {
    for (const Lane& lane : lanes_) {
      header.mutable_cell_bytes()->Add(lane.cells[i].sizes.begin(), lane.cells[i].sizes.end());
    }
  }
  const InsertMessage message = BeginInsertRequest(header, payload_bytes);
  std::byte* out = message.payload;
  size_t compressed = 0;  // columns before this one
  for (size_t i = 0; i < layout_.columns().size(); ++i) {
    const RowLayout::ColumnLayout& column = layout_.columns()[i];
    for (const Lane& lane : lanes_) {
      out = column.compressed ? std::ranges::copy(lane.cells[compressed].bytes, out).out
                              : std::copy_n(lane.values[i].data(), lane.rows * column.bytes, out);
    }
    if (column.compressed) ++compressed;
  }
  for (Lane& lane : lanes_) {
    lane.rows = 0;
    for (Cells& cells : lane.cells) cells.sizes.clear(), cells.bytes.clear();
    lane.segments.clear();
    for (Items& items : lane.items) items.runs.clear();
  }
  rows_ = 0;
  return message.message;
}

}  // namespace headrace
