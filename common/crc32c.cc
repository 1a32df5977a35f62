#include "common/crc32c.h"

#include <array>

namespace headrace {
namespace {

// The remainder of each byte, for the polynomial 0x1EDC6F41 with its bits in reverse order.
constexpr std::array<uint32_t, 256> MakeTable() {
  constexpr uint32_t kReversedPolynomial = 0x82F63B78;
  std::array<uint32_t, 256> table = {};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t remainder = byte;
    for (int bit = 0; bit < 8; ++bit) remainder = (remainder >> 1) ^ (remainder & 1 ? kReversedPolynomial : 0);
    table[byte] = remainder;
  }
  return table;
}

constexpr std::array<uint32_t, 256> kTable = MakeTable();

}  // namespace

uint32_t Crc32c(std::string_view bytes) {
  uint32_t remainder = 0xFFFFFFFF;
  for (const char c : bytes) remainder = (remainder >> 8) ^ kTable[(remainder ^ static_cast<uint8_t>(c)) & 0xFF];
  return ~remainder;
}

}  // namespace headrace
