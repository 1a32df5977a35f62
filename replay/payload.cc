#include "replay/payload.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_format.h"

namespace headrace {
namespace {

// Items whose first cache lines are fetched ahead of their turn: covers the latency of memory.
constexpr size_t kPrefetchDistance = 12;

}  // namespace

size_t BytesPerItem(const Slice& slice, const RowLayout& layout) {
  return layout.columns()[slice.column].bytes * slice.rows;
}

absl::Status ScatterChunk(google::protobuf::io::CodedInputStream& payload, const RowLayout& layout,
                          std::span<const RowStore::Address> rows, const RowStore& store) {
  for (const RowLayout::ColumnLayout& column : layout.columns()) {
    for (size_t i = 0; i < rows.size(); ++i) {
      std::byte* const target = store.Row(rows[i]) + column.offset;
      if (!payload.ReadRaw(target, static_cast<int>(column.bytes))) {
        return absl::InvalidArgumentError("the chunk's payload is shorter than its rows");
      }
      if (!AllFinite(target, column.bytes, column.type)) {
        return absl::InvalidArgumentError(
            absl::StrFormat("expected finite numbers, got others in column %s, row %d of the chunk", column.name, i));
      }
    }
  }
  return absl::OkStatus();
}

void GatherItems(std::span<const ItemStore::Drawn> items, std::span<const Slice> slices, const RowLayout& layout,
                 const RowStore& store, std::span<std::byte* const> blocks) {
  uint32_t rows_needed = 0;
  for (const Slice& slice : slices) rows_needed = std::max(rows_needed, slice.last_row() + 1);
  std::vector<const std::byte*> rows(rows_needed);
  for (size_t i = 0; i < items.size(); ++i) {
    if (i + kPrefetchDistance < items.size()) {
      const std::byte* const ahead = store.Row(items[i + kPrefetchDistance].first_row);
      __builtin_prefetch(ahead);
      __builtin_prefetch(ahead + 64);
      __builtin_prefetch(ahead + 128);
    }
    RowStore::Address row = items[i].first_row;
    for (uint32_t k = 0; k < rows_needed; ++k) {
      rows[k] = store.Row(row);
      if (k + 1 < std::min<uint32_t>(rows_needed, items[i].rows)) row = store.Next(row);
    }
    for (size_t s = 0; s < slices.size(); ++s) {
      const RowLayout::ColumnLayout& column = layout.columns()[slices[s].column];
      std::byte* target = blocks[s] + i * column.bytes * slices[s].rows;
      for (uint32_t k = 0; k < slices[s].rows; ++k, target += column.bytes) {
        std::memcpy(target, rows[slices[s].first_row + k * slices[s].stride] + column.offset, column.bytes);
      }
    }
  }
}

}  // namespace headrace
