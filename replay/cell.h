// A cell: what one row holds of a compressed column (proto/column.proto). It lies outside the row, which knows where.
//
//   actor: Deflate ──chunk──▶ shard: gathers cells as they are ──frame──▶ learner: Inflate
//
// Thread-safe: without state.
#ifndef HEADRACE_REPLAY_CELL_H_
#define HEADRACE_REPLAY_CELL_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace headrace {

struct Cell {
  const std::byte* data;
  uint32_t bytes;

  // In a row, at no particular alignment; `data` means nothing outside the process.
  static constexpr size_t kSlotBytes = sizeof(data) + sizeof(bytes);
  static Cell Load(const std::byte* slot) {
    Cell cell;
    std::memcpy(&cell.data, slot, sizeof(cell.data));
    std::memcpy(&cell.bytes, slot + sizeof(cell.data), sizeof(cell.bytes));
    return cell;
  }
  void Store(std::byte* slot) const {
    std::memcpy(slot, &data, sizeof(data));
    std::memcpy(slot + sizeof(data), &bytes, sizeof(bytes));
  }
};

// Appends the values' cell to `cells` and returns its size: less than that of the values, or the same, where the cell
// is the values as they are.
uint32_t Deflate(std::span<const std::byte> values, std::vector<std::byte>& cells);
// Fills `values` from their cell; from one of size 0 with zeros. False: it is no cell of so many bytes.
bool Inflate(std::span<const std::byte> cell, std::span<std::byte> values);

}  // namespace headrace

#endif  // HEADRACE_REPLAY_CELL_H_
