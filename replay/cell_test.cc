#include "replay/cell.h"

#include <algorithm>

#include "common/random.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

std::vector<std::byte> Noise(size_t bytes, uint64_t key) {
  RandomStream random(key);
  std::vector<std::byte> noise(bytes);
  for (std::byte& value : noise) value = static_cast<std::byte>(256 * random.Uniform());
  return noise;
}

TEST(CellTest, OfZerosIsSmallAndInflatesToThem) {
  const std::vector<std::byte> zeros(5000);
  std::vector<std::byte> cells(3);  // there is one before it
  const uint32_t bytes = Deflate(zeros, cells);
  EXPECT_LT(bytes, 100u);
  ASSERT_EQ(cells.size(), 3 + bytes);
  std::vector<std::byte> inflated(5000, std::byte{1});
  EXPECT_TRUE(Inflate(std::span(cells).subspan(3), inflated));
  EXPECT_EQ(inflated, zeros);
}

TEST(CellTest, OfNoiseIsTheNoiseItself) {
  for (const size_t size : {1, 2, 64, 5000}) {
    const std::vector<std::byte> noise = Noise(size, size);
    std::vector<std::byte> cells;
    EXPECT_EQ(Deflate(noise, cells), size);
    EXPECT_EQ(cells, noise);
    std::vector<std::byte> inflated(size);
    EXPECT_TRUE(Inflate(cells, inflated));
    EXPECT_EQ(inflated, noise);
  }
}

TEST(CellTest, OfNoBytesIsZeros) {
  std::vector<std::byte> inflated(10, std::byte{1});
  EXPECT_TRUE(Inflate({}, inflated));
  EXPECT_EQ(inflated, std::vector<std::byte>(10));
}

TEST(CellTest, OfAnotherSizeIsNone) {
  std::vector<std::byte> cells;
  Deflate(std::vector<std::byte>(500), cells);
  std::vector<std::byte> inflated(499);
  EXPECT_FALSE(Inflate(cells, inflated));
  inflated.resize(501);
  EXPECT_FALSE(Inflate(cells, inflated));
  inflated.resize(cells.size() - 1);
  EXPECT_FALSE(Inflate(cells, inflated));
}

// Under the sanitizers a byte read or written outside is seen.
TEST(CellTest, DamagedBytesStayWithinBounds) {
  std::vector<std::byte> values = Noise(2000, 1);
  std::fill(values.begin() + 100, values.end() - 100, std::byte{7});
  std::vector<std::byte> cells;
  Deflate(values, cells);
  RandomStream random(5);
  for (int i = 0; i < 20000; ++i) {
    std::vector<std::byte> damaged(cells.begin(), cells.end() - static_cast<ptrdiff_t>(10 * random.Uniform()));
    damaged[static_cast<size_t>(random.Uniform() * static_cast<double>(damaged.size()))] ^=
        static_cast<std::byte>(1 + 254 * random.Uniform());
    std::vector<std::byte> inflated(2000);
    Inflate(damaged, inflated);
  }
}

}  // namespace
}  // namespace headrace
