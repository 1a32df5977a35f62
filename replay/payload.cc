#include "replay/payload.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_format.h"
#include "common/status_macros.h"
#include "replay/cell.h"
#include "replay/copy_value.h"

namespace headrace {
namespace {

// Items whose first cache lines are fetched ahead of their turn: covers the latency of memory. Of long items the
// processor fetches the rest by itself.
constexpr size_t kPrefetchDistance = 12;
constexpr size_t kMaxPrefetchBytes = 512;
constexpr size_t kCacheLine = 64;
// Of rows that are filled at a time.
constexpr size_t kScatteredBytes = 16 << 10;
constexpr size_t kMostRows = size_t{1} << 32;  // so that sums of their bytes do not wrap around

absl::Status NotFinite(const RowLayout::ColumnLayout& column, size_t row) {
  return absl::InvalidArgumentError(
      absl::StrFormat("expected finite numbers, got others in column %s, row %d of the chunk", column.name, row));
}

// Gives the values of a column that lie one after the other; of one that lies in several pieces, a copy.
class ValueReader {
 public:
  explicit ValueReader(const ChunkPayload& payload) : pieces_(payload.pieces()) {}

  struct Values {
    const std::byte* data;
    size_t count;
  };
  // The next ones, `most` at most, which must be there.
  Values Next(size_t bytes, size_t most) {
    while (pieces_[piece_].size() == at_) NextPiece();
    const std::byte* const data = pieces_[piece_].data() + at_;
    const size_t whole = std::min(most, (pieces_[piece_].size() - at_) / bytes);
    at_ += whole * bytes;
    return whole > 0 ? Values{data, whole} : Values{Gathered(bytes), 1};
  }
  // Copies the next `bytes`.
  void Copy(size_t bytes, std::byte* target) {
    ForEachPiece(bytes, [&](ChunkPayload::Piece taken) { target = std::ranges::copy(taken, target).out; });
  }
  void Skip(size_t bytes) {
    ForEachPiece(bytes, [](ChunkPayload::Piece) {});
  }

 private:
  void NextPiece() {
    ++piece_;
    at_ = 0;
  }
  template <typename Visit>
  void ForEachPiece(size_t bytes, Visit visit) {
    while (bytes > 0) {
      if (pieces_[piece_].size() == at_) NextPiece();
      const ChunkPayload::Piece left = pieces_[piece_].subspan(at_);
      const ChunkPayload::Piece taken = left.first(std::min(left.size(), bytes));
      visit(taken);
      at_ += taken.size();
      bytes -= taken.size();
    }
  }
  const std::byte* Gathered(size_t bytes) {
    gathered_.resize(bytes);
    Copy(bytes, gathered_.data());
    return gathered_.data();
  }

  std::span<const ChunkPayload::Piece> pieces_;
  size_t piece_ = 0;
  size_t at_ = 0;  // in the piece
  std::vector<std::byte> gathered_;
};

// What cannot be inflated must not get into a table: whoever draws it could do nothing but draw again.
absl::Status CheckCells(const RowLayout::ColumnLayout& column, CellSizes cells, ValueReader& reader) {
  std::vector<std::byte> values(column.bytes);
  for (size_t row = 0; row < cells.size(); ++row) {
    if (Inflate({reader.Next(cells[row], 1).data, cells[row]}, values)) continue;
    return absl::InvalidArgumentError(absl::StrFormat(
        "expected a cell of %d bytes by LZ4, got another in column %s, row %d", column.bytes, column.name, row));
  }
  return absl::OkStatus();
}

// A column of these rows.
void ScatterColumn(ValueReader& reader, const RowLayout::ColumnLayout& column, std::span<const RowStore::Address> rows,
                   const RowStore& store) {
  const size_t bytes = column.bytes;
  for (size_t row = 0; row < rows.size();) {
    auto [values, count] = reader.Next(bytes, rows.size() - row);
    for (const size_t end = row + count; row < end; ++row, values += bytes) {
      CopyValue(store.Row(rows[row]) + column.offset, values, bytes);
    }
  }
}

struct ColumnCopy {
  Slice slice;
  size_t offset;
  size_t bytes;
  std::byte* target;
  std::byte* cell_sizes = nullptr;  // of a compressed column: where its next cell's belongs
};

// Where the rows of an item are, and those of its context before them.
class ItemRows {
 public:
  explicit ItemRows(uint32_t rows_needed) : rows_needed_(rows_needed), rows_(ItemStore::kMaxContext + rows_needed) {}

  void Find(const ItemStore::Drawn& item, const RowStore& store) {
    context_ = item.context;
    const uint32_t rows = context_ + rows_needed_;
    const uint32_t rows_there = context_ + std::min<uint32_t>(rows_needed_, item.rows);
    RowStore::Address row = item.first_row;
    for (uint32_t k = 0; k < rows; ++k) {
      rows_[k] = store.Row(row);
      if (k + 1 < rows_there) row = store.Next(row);
    }
  }
  const std::byte* operator[](uint32_t row) const { return rows_[context_ + row]; }
  // The row so many rows before that one, of which there are RowsBefore(row).
  const std::byte* Before(uint32_t row, uint32_t back) const { return rows_[context_ + row - back]; }
  uint32_t RowsBefore(uint32_t row) const { return context_ + row; }

 private:
  const uint32_t rows_needed_;
  std::vector<const std::byte*> rows_;
  uint32_t context_ = 0;
};

// Of the rows before `row` in its stack, how many there are.
uint32_t RowsInStack(const ItemRows& rows, uint32_t row, const Slice& slice) {
  return std::min({slice.stack - 1, RowStore::Age(rows[row]), rows.RowsBefore(row)});
}

// The values of the rows before `row` in its stack. Returns where the row's own belong.
std::byte* FillStack(const ItemRows& rows, uint32_t row, const ColumnCopy& copy) {
  const uint32_t before = copy.slice.stack - 1;
  const uint32_t there = RowsInStack(rows, row, copy.slice);
  std::byte* target = copy.target;
  std::memset(target, 0, (before - there) * copy.bytes);
  target += (before - there) * copy.bytes;
  for (uint32_t back = there; back > 0; --back, target += copy.bytes) {
    CopyValue(target, rows.Before(row, back) + copy.offset, copy.bytes);
  }
  return target;
}

// Calls `visit` with each cell of an item's slice in the order in which they are sampled.
template <typename Visit>
void ForEachCell(const ItemRows& rows, const Slice& slice, size_t offset, Visit visit) {
  uint32_t row = slice.first_row;
  for (uint32_t k = 0; k < slice.rows; ++k, row += slice.stride) {
    const uint32_t there = slice.stack > 1 ? RowsInStack(rows, row, slice) : 0;
    for (uint32_t missing = slice.stack - 1; missing > there; --missing) visit(Cell{nullptr, 0});
    for (uint32_t back = there + 1; back-- > 0;) visit(Cell::Load(rows.Before(row, back) + offset));
  }
}

void CopyCells(const ItemRows& rows, ColumnCopy& copy) {
  ForEachCell(rows, copy.slice, copy.offset, [&](const Cell& cell) {
    std::memcpy(copy.cell_sizes, &cell.bytes, sizeof(cell.bytes));
    copy.cell_sizes += sizeof(cell.bytes);
    copy.target = std::copy_n(cell.data, cell.bytes, copy.target);
  });
}

void CopyValues(const ItemRows& rows, ColumnCopy& copy) {
  uint32_t from = copy.slice.first_row;
  for (uint32_t k = 0; k < copy.slice.rows; ++k, from += copy.slice.stride) {
    if (copy.slice.stack > 1) copy.target = FillStack(rows, from, copy);
    CopyValue(copy.target, rows[from] + copy.offset, copy.bytes);
    copy.target += copy.bytes;
  }
}

}  // namespace

size_t BytesPerItem(const Slice& slice, const RowLayout& layout) {
  return layout.columns()[slice.column].bytes * slice.cells();
}

ChunkPayload::ChunkPayload(std::vector<Piece> pieces) : pieces_(std::move(pieces)) {
  for (const Piece& piece : pieces_) bytes_ += piece.size();
}

absl::Status CheckSizes(const ChunkPayload& payload, const RowLayout& layout, size_t rows, CellSizes cells) {
  if (rows > kMostRows || cells.size() != rows * layout.compressed_columns()) {
    return absl::InvalidArgumentError(absl::StrFormat("expected the sizes of %d cells for each of %d rows, got %d",
                                                      layout.compressed_columns(), rows, cells.size()));
  }
  size_t expected = rows * layout.fixed_bytes();
  size_t next = 0;
  for (const RowLayout::ColumnLayout& column : layout.columns()) {
    for (size_t row = 0; column.compressed && row < rows; ++row, ++next) {
      if (cells[next] == 0 || cells[next] > column.bytes) {
        return absl::InvalidArgumentError(
            absl::StrFormat("expected cells of 1 to %d bytes, got %d in column %s, row %d", column.bytes, cells[next],
                            column.name, row));
      }
      expected += cells[next];
    }
  }
  if (payload.bytes() == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat("expected %d bytes for %d rows of %d%s, got %d", expected, rows,
                                                    layout.fixed_bytes(), cells.empty() ? "" : " and their cells",
                                                    payload.bytes()));
}

absl::Status CheckNumbers(const ChunkPayload& payload, const RowLayout& layout, size_t rows, CellSizes cells) {
  ValueReader reader(payload);
  for (const RowLayout::ColumnLayout& column : layout.columns()) {
    if (column.compressed) {
      RETURN_IF_ERROR(CheckCells(column, cells.first(rows), reader));
      cells = cells.subspan(rows);
      continue;
    }
    for (size_t row = 0; row < rows;) {
      auto [values, count] = reader.Next(column.bytes, rows - row);
      if (!AllFinite(values, count * column.bytes, column.type)) {
        while (AllFinite(values, column.bytes, column.type)) values += column.bytes, ++row;
        return NotFinite(column, row);
      }
      row += count;
    }
  }
  return absl::OkStatus();
}

void ScatterChunk(const ChunkPayload& payload, const RowLayout& layout, CellSizes cells,
                  std::span<const RowStore::Address> rows, const RowStore& store, std::byte* cell_block) {
  // Each column's next value: some rows are filled at a time, so that they stay in the first cache until they are
  // whole.
  std::vector<ValueReader> readers;
  ValueReader reader(payload);
  for (const RowLayout::ColumnLayout& column : layout.columns()) {
    readers.push_back(reader);
    if (!column.compressed) {
      reader.Skip(rows.size() * column.bytes);
      continue;
    }
    for (size_t row = 0; row < rows.size(); ++row) {
      reader.Copy(cells[row], cell_block);
      Cell{cell_block, cells[row]}.Store(store.Row(rows[row]) + column.offset);
      cell_block += cells[row];
    }
    cells = cells.subspan(rows.size());
  }
  const size_t rows_at_a_time = std::max<size_t>(1, kScatteredBytes / layout.stride());
  for (; !rows.empty(); rows = rows.subspan(std::min(rows.size(), rows_at_a_time))) {
    const std::span<const RowStore::Address> some = rows.first(std::min(rows.size(), rows_at_a_time));
    for (size_t i = 0; i < readers.size(); ++i) {
      const RowLayout::ColumnLayout& column = layout.columns()[i];
      if (!column.compressed) ScatterColumn(readers[i], column, some, store);
    }
  }
}

size_t GatheredBytes(std::span<const ItemStore::Drawn> items, const Slice& slice, const RowLayout& layout,
                     const RowStore& store) {
  const RowLayout::ColumnLayout& column = layout.columns()[slice.column];
  if (!column.compressed) return items.size() * BytesPerItem(slice, layout);
  size_t bytes = items.size() * slice.cells() * sizeof(Cell::bytes);
  ItemRows rows(slice.last_row() + 1);
  for (const ItemStore::Drawn& item : items) {
    rows.Find(item, store);
    ForEachCell(rows, slice, column.offset, [&](const Cell& cell) { bytes += cell.bytes; });
  }
  return bytes;
}

void GatherItems(std::span<const ItemStore::Drawn> items, std::span<const Slice> slices, const RowLayout& layout,
                 const RowStore& store, std::span<std::byte* const> blocks) {
  uint32_t rows_needed = 0;
  for (const Slice& slice : slices) rows_needed = std::max(rows_needed, slice.last_row() + 1);
  const size_t prefetched = std::min(rows_needed * layout.stride() + kCacheLine, kMaxPrefetchBytes);
  std::vector<ColumnCopy> copies;
  for (size_t s = 0; s < slices.size(); ++s) {
    const RowLayout::ColumnLayout& column = layout.columns()[slices[s].column];
    ColumnCopy& copy = copies.emplace_back(ColumnCopy{slices[s], column.offset, column.bytes, blocks[s]});
    if (column.compressed) {
      copy.cell_sizes = copy.target;
      copy.target += items.size() * slices[s].cells() * sizeof(Cell::bytes);
    }
  }
  ItemRows rows(rows_needed);
  for (size_t i = 0; i < items.size(); ++i) {
    if (i + kPrefetchDistance < items.size()) {
      const std::byte* const ahead = store.Row(items[i + kPrefetchDistance].first_row);
      for (size_t byte = 0; byte < prefetched; byte += kCacheLine) __builtin_prefetch(ahead + byte);
    }
    rows.Find(items[i], store);
    for (ColumnCopy& copy : copies) {
      copy.cell_sizes != nullptr ? CopyCells(rows, copy) : CopyValues(rows, copy);
    }
  }
}

}  // namespace headrace
