#include "common/checksum.h"

#include <string>

#include "gtest/gtest.h"

namespace headrace {
namespace {

// The published value of XXH3-64 with seed 0 for no input at all: files written anywhere can be checked anywhere.
TEST(ChecksumTest, IsXxh3) { EXPECT_EQ(Checksum(""), 0x2d06800538d394c2u); }

TEST(ChecksumTest, IsTheSameInPieces) {
  std::string bytes;
  for (int i = 0; i < 10000; ++i) bytes.push_back(static_cast<char>(i * 31));
  for (const size_t cut : {0, 1, 240, 256, 1024, 9999, 10000}) {
    Checksummer sum;
    sum.Update(std::string_view(bytes).substr(0, cut));
    sum.Update(std::string_view(bytes).substr(cut));
    EXPECT_EQ(sum.value(), Checksum(bytes)) << cut;
  }
}

TEST(ChecksumTest, ChangesWithEveryBit) {
  const std::string bytes(100, 'a');
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_NE(Checksum(flipped), Checksum(bytes)) << bit;
  }
}

}  // namespace
}  // namespace headrace
