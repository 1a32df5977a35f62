// Rows between wire and memory. A chunk comes as whole columns and is scattered into rows; a batch is gathered from
// rows into whole columns. Each byte is copied once. What is compressed stays so.
//
// Thread-safe on different rows; no locks are held while copying.
#ifndef HEADRACE_REPLAY_PAYLOAD_H_
#define HEADRACE_REPLAY_PAYLOAD_H_

#include <span>
#include <vector>

#include "absl/status/status.h"
#include "replay/item_store.h"
#include "replay/row_layout.h"
#include "replay/row_store.h"

namespace headrace {

// Rows first_row, first_row + stride, ... of each item, `rows` in all, of one column; in place of each row the values
// of the last `stack` rows of its episode up to it, oldest first, zeros for those before its start.
struct Slice {
  int column;
  uint32_t first_row;
  uint32_t rows;
  uint32_t stride = 1;
  uint32_t stack = 1;  // at most the table's context_rows + 1

  uint32_t last_row() const { return first_row + (rows - 1) * stride; }
  // Values of an item: of one row each, before they are stacked.
  size_t cells() const { return size_t{rows} * stack; }
};

// Not compressed.
size_t BytesPerItem(const Slice& slice, const RowLayout& layout);

// A chunk's payload where it lies, in one piece or several, which must outlive this.
class ChunkPayload {
 public:
  using Piece = std::span<const std::byte>;

  explicit ChunkPayload(Piece piece) : ChunkPayload(std::vector<Piece>{piece}) {}
  explicit ChunkPayload(std::vector<Piece> pieces);

  size_t bytes() const { return bytes_; }
  const std::vector<Piece>& pieces() const { return pieces_; }

 private:
  std::vector<Piece> pieces_;
  size_t bytes_ = 0;
};

// ChunkHeader.cell_bytes; empty where no column is compressed.
using CellSizes = std::span<const uint32_t>;

// InvalidArgument: the payload's bytes, or the sizes of its cells, are not those of so many rows.
absl::Status CheckSizes(const ChunkPayload& payload, const RowLayout& layout, size_t rows, CellSizes cells);
// The rest is for payloads whose sizes are right. InvalidArgument: a number is not finite, or a cell cannot be
// inflated; column and row are named.
absl::Status CheckNumbers(const ChunkPayload& payload, const RowLayout& layout, size_t rows, CellSizes cells);
// Copies the payload into `rows`, and its cells into the block that was reserved with them.
void ScatterChunk(const ChunkPayload& payload, const RowLayout& layout, CellSizes cells,
                  std::span<const RowStore::Address> rows, const RowStore& store, std::byte* cell_block);

// Bytes that a slice of the items takes when it is gathered.
size_t GatheredBytes(std::span<const ItemStore::Drawn> items, const Slice& slice, const RowLayout& layout,
                     const RowStore& store);
// Copies the slices of items into `blocks`, one block [items, slice rows, stack, column] for each slice; of a
// compressed column its cells, as Frame in proto/replay.proto has them. Beyond an item's end its last row is repeated.
void GatherItems(std::span<const ItemStore::Drawn> items, std::span<const Slice> slices, const RowLayout& layout,
                 const RowStore& store, std::span<std::byte* const> blocks);

}  // namespace headrace

#endif  // HEADRACE_REPLAY_PAYLOAD_H_
