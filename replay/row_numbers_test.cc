#include "replay/row_numbers.h"

#include <set>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

// Of a slab: each row with its number and whether it has a link.
std::vector<std::pair<RowStore::Address, bool>> RowsOf(const RowNumbers& numbers, uint32_t slab) {
  std::vector<std::pair<RowStore::Address, bool>> rows;
  EXPECT_TRUE(numbers
                  .ForEach(slab,
                           [&](RowStore::Address row, bool linked) {
                             rows.emplace_back(row, linked);
                             return absl::OkStatus();
                           })
                  .ok());
  return rows;
}

TEST(RowNumbersTest, RowsAreNumberedInTheOrderOfTheirSlabs) {
  RowNumbers numbers(128, 4 * 128);
  for (const uint64_t row : {256 + 127, 256 + 64, 256 + 0}) numbers.AddLinked(row);
  numbers.Add(63);
  numbers.Add(64);
  numbers.AddLinked(64);  // a link stays, whoever comes first
  numbers.Add(64);
  numbers.Number(2);
  numbers.Number(0);
  numbers.Number(1);  // has none
  EXPECT_EQ(numbers.count(), 5u);
  EXPECT_EQ(numbers[256], 0u);
  EXPECT_EQ(numbers[256 + 64], 1u);
  EXPECT_EQ(numbers[256 + 127], 2u);
  EXPECT_EQ(numbers[63], 3u);
  EXPECT_EQ(numbers[64], 4u);
  EXPECT_THAT(RowsOf(numbers, 0), ElementsAre(std::pair(63u, false), std::pair(64u, true)));
  EXPECT_THAT(RowsOf(numbers, 1), ElementsAre());
  EXPECT_THAT(RowsOf(numbers, 2), ElementsAre(std::pair(256u, true), std::pair(320u, true), std::pair(383u, true)));
}

// Whatever a slab's size, and beside a plain count.
TEST(RowNumbersTest, NumbersAreThoseOfACount) {
  for (const size_t rows_per_slab : {1, 2, 32, 64, 1024}) {
    const size_t end = 8 * rows_per_slab;
    RowNumbers numbers(rows_per_slab, end);
    std::set<uint64_t> rows;
    for (uint64_t i = 0, row = 1; i < end / 3; ++i, row = row * 5 % end + i) rows.insert(row % end);
    for (const uint64_t row : rows) numbers.Add(row);
    for (uint32_t slab = 0; slab < 8; ++slab) numbers.Number(slab);
    uint32_t expected = 0;
    for (const uint64_t row : rows) ASSERT_EQ(numbers[row], expected++) << rows_per_slab;
    std::vector<uint64_t> visited;
    for (uint32_t slab = 0; slab < 8; ++slab) {
      for (const auto& [row, linked] : RowsOf(numbers, slab)) visited.push_back(row);
    }
    EXPECT_THAT(visited, ElementsAreArray(rows)) << rows_per_slab;
    EXPECT_EQ(numbers.count(), rows.size());
  }
}

TEST(RowNumbersTest, AVisitorsErrorEndsTheVisit) {
  RowNumbers numbers(64, 64);
  numbers.Add(3);
  numbers.Add(5);
  numbers.Number(0);
  int visits = 0;
  const absl::Status status = numbers.ForEach(0, [&](RowStore::Address, bool) {
    ++visits;
    return absl::ResourceExhaustedError("the disk is full");
  });
  EXPECT_TRUE(absl::IsResourceExhausted(status));
  EXPECT_EQ(visits, 1);
}

}  // namespace
}  // namespace headrace
