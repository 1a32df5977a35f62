#include "replay/payload.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "replay/testing.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;

constexpr size_t kRows = 7;

class PayloadTest : public testing::Test {
 protected:
  PayloadTest() {
    EXPECT_EQ(store_.Reserve(kRows, rows_), RowStore::Room::kReserved);
    for (size_t i = 0; i + 1 < kRows; ++i) store_.SetNext(rows_[i], rows_[i + 1]);
    // Whole columns, one after the other.
    for (size_t column = 0; column < layout_.columns().size(); ++column) {
      for (size_t row = 0; row < kRows; ++row) {
        const TestRow values(3, row);
        payload_.append(reinterpret_cast<const char*>(values.columns()[column]), layout_.columns()[column].bytes);
      }
    }
  }

  // In pieces of so many bytes.
  static ChunkPayload Pieces(const std::string& payload, size_t bytes) {
    std::vector<ChunkPayload::Piece> pieces;
    for (ChunkPayload::Piece left = std::as_bytes(std::span(payload)); !left.empty();) {
      pieces.push_back(left.first(std::min(bytes, left.size())));
      left = left.subspan(pieces.back().size());
    }
    return ChunkPayload(pieces);
  }
  void Scatter(size_t piece_bytes) { ScatterChunk(Pieces(payload_, piece_bytes), layout_, {}, rows_, store_, nullptr); }

  template <typename T>
  std::string With(T value, size_t offset) {
    std::string payload = payload_;
    std::memcpy(payload.data() + offset, &value, sizeof(value));
    return payload;
  }

  const RowLayout layout_ = *RowLayout::Create(TestSignature());
  RowStore store_{{.stride = layout_.stride()}, 1 << 16};
  std::vector<RowStore::Address> rows_;
  std::string payload_;
};

TEST_F(PayloadTest, WhatIsScatteredIsGatheredAgain) {
  Scatter(payload_.size());
  // Three items of 3 rows, of which slices take one or two; the first column twice, in both ways.
  const std::vector<ItemStore::Drawn> items = {{0, rows_[2], 3, 1}, {1, rows_[0], 3, 1}, {2, rows_[4], 3, 1}};
  const std::vector<Slice> slices = {{0, 1, 2}, {3, 0, 1}, {2, 2, 1}, {1, 0, 3}};
  std::vector<std::vector<std::byte>> blocks;
  std::vector<std::byte*> targets;
  for (const Slice& slice : slices) {
    blocks.emplace_back(items.size() * BytesPerItem(slice, layout_));
    targets.push_back(blocks.back().data());
  }
  GatherItems(items, slices, layout_, store_, targets);
  for (size_t i = 0; i < items.size(); ++i) {
    const uint64_t first = std::vector<uint64_t>{2, 0, 4}[i];
    for (uint64_t k = 0; k < 2; ++k) {
      EXPECT_EQ(std::memcmp(&blocks[0][(2 * i + k) * 8], TestRow(3, first + 1 + k).observation.data(), 8), 0);
    }
    EXPECT_EQ(blocks[1][i], std::byte{TestRow(3, first).terminated});
    EXPECT_EQ(std::memcmp(&blocks[2][i * 8], TestRow(3, first + 2).columns()[2], 8), 0);
    for (uint64_t k = 0; k < 3; ++k) {
      EXPECT_EQ(std::memcmp(&blocks[3][(3 * i + k) * 4], TestRow(3, first + k).columns()[1], 4), 0);
    }
  }
}

TEST_F(PayloadTest, RepeatsTheLastRowBeyondAnItemsEndAndTakesEverySoManyethRow) {
  Scatter(payload_.size());
  const std::vector<ItemStore::Drawn> items = {{.key = 1, .first_row = rows_[0], .rows = 4, .probability = 1},
                                               {.key = 2, .first_row = rows_[2], .rows = 2, .probability = 1}};
  const std::vector<Slice> slices = {{.column = 0, .first_row = 0, .rows = 2, .stride = 3}};
  std::vector<std::byte> block(2 * 2 * 8);
  std::byte* const target = block.data();
  GatherItems(items, slices, layout_, store_, {&target, 1});
  const std::vector<uint64_t> expected = {0, 3, 2, 3};  // the second item has no row but 2 and 3
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(std::memcmp(&block[i * 8], TestRow(3, expected[i]).observation.data(), 8), 0) << i;
  }
}

TEST_F(PayloadTest, ScatteringLeavesTheLinksAlone) {
  Scatter(payload_.size());
  EXPECT_EQ(store_.Next(rows_[0]), rows_[1]);
  EXPECT_EQ(store_.Next(rows_[kRows - 1]), RowStore::kNoRow);
}

TEST_F(PayloadTest, NamesColumnAndRowOfNumbersThatAreNotFinite) {
  const auto error = [&](const std::string& payload, size_t piece_bytes) {
    const absl::Status status = CheckNumbers(Pieces(payload, piece_bytes), layout_, kRows, {});
    EXPECT_TRUE(absl::IsInvalidArgument(status));
    return std::string(status.message());
  };
  // Columns begin at 0 (8 bytes a row), 56 (4) and 84 (8).
  for (size_t bytes = 1; bytes <= payload_.size(); ++bytes) {
    EXPECT_TRUE(CheckNumbers(Pieces(payload_, bytes), layout_, kRows, {}).ok());
    EXPECT_THAT(error(With(std::numeric_limits<float>::infinity(), 5 * 8 + 4), bytes),
                HasSubstr("column observation, row 5"));
    EXPECT_THAT(error(With(std::numeric_limits<float>::quiet_NaN(), 56 + 2 * 4), bytes),
                HasSubstr("column action, row 2"));
    EXPECT_THAT(error(With(-std::numeric_limits<double>::infinity(), 84 + 6 * 8), bytes),
                HasSubstr("column reward, row 6"));
  }
}

TEST_F(PayloadTest, PiecesMayEndAnywhere) {
  for (size_t bytes = 1; bytes < payload_.size(); ++bytes) {
    for (const RowStore::Address row : rows_) std::memset(store_.Row(row) + 4, 0, layout_.payload_bytes());
    Scatter(bytes);
    for (size_t row = 0; row < kRows; ++row) {
      const TestRow expected(3, row);
      for (size_t column = 0; column < layout_.columns().size(); ++column) {
        const RowLayout::ColumnLayout& at = layout_.columns()[column];
        ASSERT_EQ(std::memcmp(store_.Row(rows_[row]) + at.offset, expected.columns()[column], at.bytes), 0);
      }
    }
  }
}

}  // namespace
}  // namespace headrace
