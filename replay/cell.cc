#include "replay/cell.h"

#include <lz4.h>

namespace headrace {

uint32_t Deflate(std::span<const std::byte> values, std::vector<std::byte>& cells) {
  const size_t before = cells.size();
  cells.resize(before + values.size());
  // With less room than the values take it gives up, and returns 0, where it cannot make them smaller.
  const int deflated =
      LZ4_compress_default(reinterpret_cast<const char*>(values.data()), reinterpret_cast<char*>(cells.data() + before),
                           static_cast<int>(values.size()), static_cast<int>(values.size()) - 1);
  if (deflated == 0) {
    std::memcpy(cells.data() + before, values.data(), values.size());
  } else {
    cells.resize(before + static_cast<size_t>(deflated));
  }
  return static_cast<uint32_t>(cells.size() - before);
}

bool Inflate(std::span<const std::byte> cell, std::span<std::byte> values) {
  if (cell.empty()) {
    std::memset(values.data(), 0, values.size());
    return true;
  }
  if (cell.size() > values.size()) return false;
  if (cell.size() == values.size()) {
    std::memcpy(values.data(), cell.data(), cell.size());
    return true;
  }
  const int inflated =
      LZ4_decompress_safe(reinterpret_cast<const char*>(cell.data()), reinterpret_cast<char*>(values.data()),
                          static_cast<int>(cell.size()), static_cast<int>(values.size()));
  return inflated == static_cast<int>(values.size());
}

}  // namespace headrace
