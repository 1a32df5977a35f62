#include "replay/chunk_builder.h"

#include <cstring>

#include "replay/wire.h"

namespace headrace {

void ChunkBuilder::Append(uint32_t number, std::span<const std::byte* const> columns, v1::EpisodeEnd end) {
  if (number >= lanes_.size()) lanes_.resize(number + 1);
  Lane& lane = lanes_[number];
  if (lane.segments.empty() || !lane.in_episode) {
    v1::Segment& segment = lane.segments.emplace_back();
    segment.set_lane(number);
    segment.set_first_row(lane.next_row);
    segment.set_episode_start(!lane.in_episode);
    if (!lane.in_episode && !pattern_.span_episodes && !pattern_.until_cut) lane.next_item_row = lane.next_row;
  }
  size_t end_of_row = lane.bytes.size();
  lane.bytes.resize(end_of_row + layout_.payload_bytes());
  for (size_t i = 0; i < columns.size(); ++i) {
    const size_t bytes = layout_.columns()[i].bytes;
    std::memcpy(lane.bytes.data() + end_of_row, columns[i], bytes);
    end_of_row += bytes;
  }
  v1::Segment& segment = lane.segments.back();
  segment.set_rows(segment.rows() + 1);
  segment.set_end(end);
  lane.in_episode = end == v1::NOT_ENDED;
  ++lane.next_row;
  ++rows_;
  if (!pattern_.until_cut) {
    AddItems(number, lane);
  } else if (end == v1::CUT) {
    AddItem(number, lane, static_cast<uint32_t>(lane.next_row - lane.next_item_row));
    lane.next_item_row = lane.next_row;
  }
}

void ChunkBuilder::AddItems(uint32_t number, Lane& lane) {
  if (lane.next_item_row + pattern_.rows <= lane.next_row) AddItem(number, lane, pattern_.rows);
  if (lane.in_episode) return;
  while (lane.next_item_row + pattern_.least_rows <= lane.next_row) {
    AddItem(number, lane, static_cast<uint32_t>(lane.next_row - lane.next_item_row));
  }
}

void ChunkBuilder::AddItem(uint32_t number, Lane& lane, uint32_t rows) {
  const bool continues =
      !lane.items.empty() && lane.items.back().rows() == rows &&
      lane.items.back().priorities().empty() != priority_.has_value() &&
      lane.items.back().first_row() + uint64_t{lane.items.back().count()} * pattern_.stride == lane.next_item_row;
  if (continues) {
    lane.items.back().set_count(lane.items.back().count() + 1);
  } else {
    v1::ItemRun& run = lane.items.emplace_back();
    run.set_lane(number);
    run.set_first_row(lane.next_item_row);
    run.set_rows(rows);
    run.set_count(1);
    run.set_stride(pattern_.stride);
  }
  if (priority_.has_value()) lane.items.back().add_priorities(*priority_);
  lane.next_item_row += pattern_.stride;
}

grpc::Slice ChunkBuilder::Build(uint64_t sequence) {
  v1::ChunkHeader header;
  header.set_sequence(sequence);
  for (Lane& lane : lanes_) {
    for (v1::Segment& segment : lane.segments) header.add_segments()->Swap(&segment);
    for (v1::ItemRun& run : lane.items) header.add_items()->Swap(&run);
  }
  const InsertMessage message = BeginInsertRequest(header, rows_ * layout_.payload_bytes());
  std::byte* out = message.payload;
  size_t offset = 0;  // of the column in a packed row
  for (const RowLayout::ColumnLayout& column : layout_.columns()) {
    for (const Lane& lane : lanes_) {
      for (size_t row = offset; row < lane.bytes.size(); row += layout_.payload_bytes(), out += column.bytes) {
        std::memcpy(out, lane.bytes.data() + row, column.bytes);
      }
    }
    offset += column.bytes;
  }
  for (Lane& lane : lanes_) {
    lane.bytes.clear();
    lane.segments.clear();
    lane.items.clear();
  }
  rows_ = 0;
  return message.message;
}

}  // namespace headrace
