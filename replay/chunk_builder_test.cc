#include "replay/chunk_builder.h"

#include <cstring>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "replay/testing.h"

namespace headrace {
namespace {

class ChunkBuilderTest : public testing::Test {
 protected:
  void Append(ChunkBuilder& builder, uint32_t lane, v1::EpisodeEnd end = v1::NOT_ENDED) {
    const TestRow row(lane, next_row_[lane]++);
    builder.Append(lane, row.columns(), end);
  }
  static v1::InsertRequest Build(ChunkBuilder& builder, uint64_t sequence) {
    const grpc::Slice message = builder.Build(sequence);
    v1::InsertRequest request;
    EXPECT_TRUE(request.ParseFromArray(message.begin(), static_cast<int>(message.size())));
    return request;
  }
  static std::string Text(const google::protobuf::Message& message) { return message.ShortDebugString(); }

  uint64_t next_row_[4] = {};
};

TEST_F(ChunkBuilderTest, LaysOutWholeColumnsInTheOrderOfTheSegments) {
  ChunkBuilder builder(*RowLayout::Create(TestSignature()), {});
  for (const uint32_t lane : {2, 0, 2, 0, 2}) Append(builder, lane);
  EXPECT_EQ(builder.rows(), 5u);
  const v1::InsertRequest request = Build(builder, 9);
  EXPECT_EQ(builder.rows(), 0u);
  EXPECT_EQ(request.chunk().sequence(), 9u);
  ASSERT_EQ(request.chunk().segments_size(), 2);
  EXPECT_EQ(Text(request.chunk().segments(0)), "rows: 2 episode_start: true");
  EXPECT_EQ(Text(request.chunk().segments(1)), "lane: 2 rows: 3 episode_start: true");
  // Rows 0 and 1 of lane 0, then rows 0 to 2 of lane 2: 5 observations, 5 actions, 5 rewards, 5 flags.
  const std::pair<uint32_t, uint64_t> rows[] = {{0, 0}, {0, 1}, {2, 0}, {2, 1}, {2, 2}};
  std::string expected;
  const size_t bytes[] = {8, 4, 8, 1};
  for (size_t column = 0; column < 4; ++column) {
    for (const auto& [lane, row] : rows) {
      const TestRow values(lane, row);
      expected.append(reinterpret_cast<const char*>(values.columns()[column]), bytes[column]);
    }
  }
  EXPECT_EQ(request.data(), expected);
}

TEST_F(ChunkBuilderTest, MakesATransitionOfEveryTwoRowsOfAnEpisode) {
  ChunkBuilder builder(*RowLayout::Create(TestSignature()), {.rows = 2, .stride = 1});
  for (int i = 0; i < 3; ++i) Append(builder, 1);
  Append(builder, 1, v1::TERMINATED);
  Append(builder, 1);
  Append(builder, 1, v1::INTERRUPTED);
  const v1::ChunkHeader chunk = Build(builder, 1).chunk();
  ASSERT_EQ(chunk.segments_size(), 2);
  EXPECT_EQ(Text(chunk.segments(0)), "lane: 1 rows: 4 episode_start: true end: TERMINATED");
  EXPECT_EQ(Text(chunk.segments(1)), "lane: 1 first_row: 4 rows: 2 episode_start: true end: INTERRUPTED");
  ASSERT_EQ(chunk.items_size(), 2);
  EXPECT_EQ(Text(chunk.items(0)), "lane: 1 rows: 2 count: 3 stride: 1");
  EXPECT_EQ(Text(chunk.items(1)), "lane: 1 first_row: 4 rows: 2 count: 1 stride: 1");
}

TEST_F(ChunkBuilderTest, ItemsReachBackIntoEarlierChunks) {
  ChunkBuilder builder(*RowLayout::Create(TestSignature()), {.rows = 4, .stride = 2});
  for (int i = 0; i < 5; ++i) Append(builder, 0);  // rows 0 to 4: the item from row 0
  EXPECT_EQ(Text(Build(builder, 1).chunk().items(0)), "rows: 4 count: 1 stride: 2");
  for (int i = 0; i < 3; ++i) Append(builder, 0);  // rows 5 to 7: the items from rows 2 and 4
  const v1::ChunkHeader chunk = Build(builder, 2).chunk();
  EXPECT_EQ(Text(chunk.segments(0)), "first_row: 5 rows: 3");
  ASSERT_EQ(chunk.items_size(), 1);
  EXPECT_EQ(Text(chunk.items(0)), "first_row: 2 rows: 4 count: 2 stride: 2");
}

TEST_F(ChunkBuilderTest, ItemsDoNotReachOverTheEndOfAnEpisode) {
  ChunkBuilder builder(*RowLayout::Create(TestSignature()), {.rows = 3, .stride = 3});
  for (int i = 0; i < 4; ++i) Append(builder, 0, i == 3 ? v1::TRUNCATED : v1::NOT_ENDED);  // rows 0-3: item 0-2
  for (int i = 0; i < 3; ++i) Append(builder, 0);                                          // rows 4-6: item 4-6
  const v1::ChunkHeader chunk = Build(builder, 1).chunk();
  ASSERT_EQ(chunk.items_size(), 2);
  EXPECT_EQ(Text(chunk.items(0)), "rows: 3 count: 1 stride: 3");
  EXPECT_EQ(Text(chunk.items(1)), "first_row: 4 rows: 3 count: 1 stride: 3");
}

TEST_F(ChunkBuilderTest, ItemsMayBeShorterAtTheEndOfAnEpisode) {
  ChunkBuilder builder(*RowLayout::Create(TestSignature()), {.rows = 4, .stride = 1, .least_rows = 2});
  for (int i = 0; i < 6; ++i) Append(builder, 0, i == 5 ? v1::TRUNCATED : v1::NOT_ENDED);   // 0-3, 1-4, 2-5, 3-5, 4-5
  for (int i = 0; i < 2; ++i) Append(builder, 0, i == 1 ? v1::TERMINATED : v1::NOT_ENDED);  // 6-7
  Append(builder, 0);
  const v1::ChunkHeader chunk = Build(builder, 1).chunk();
  ASSERT_EQ(chunk.items_size(), 4);
  EXPECT_EQ(Text(chunk.items(0)), "rows: 4 count: 3 stride: 1");
  EXPECT_EQ(Text(chunk.items(1)), "first_row: 3 rows: 3 count: 1 stride: 1");
  EXPECT_EQ(Text(chunk.items(2)), "first_row: 4 rows: 2 count: 1 stride: 1");
  EXPECT_EQ(Text(chunk.items(3)), "first_row: 6 rows: 2 count: 1 stride: 1");
}

TEST_F(ChunkBuilderTest, AnEpisodeMayEndWithARowOfItsOwn) {
  ChunkBuilder builder(*RowLayout::Create(TestSignature()), {});
  Append(builder, 0);
  Build(builder, 1);
  Append(builder, 0, v1::TERMINATED);
  const v1::ChunkHeader chunk = Build(builder, 2).chunk();
  EXPECT_EQ(Text(chunk.segments(0)), "first_row: 1 rows: 1 end: TERMINATED");
  EXPECT_EQ(Text(chunk.items(0)), "rows: 2 count: 1 stride: 1");
}

TEST_F(ChunkBuilderTest, ItemsThatSpanEpisodesBeginAtEveryStridethRowOfTheLane) {
  ChunkBuilder builder(*RowLayout::Create(TestSignature()), {.rows = 3, .stride = 2, .span_episodes = true});
  for (int i = 0; i < 6; ++i) Append(builder, 0, i == 1 ? v1::TERMINATED : v1::NOT_ENDED);
  const v1::ChunkHeader chunk = Build(builder, 1).chunk();
  ASSERT_EQ(chunk.items_size(), 1);  // rows 0-2 and 2-4
  EXPECT_EQ(Text(chunk.items(0)), "rows: 3 count: 2 stride: 2");
}

TEST_F(ChunkBuilderTest, ItemsUntilACutHaveAllRowsSinceTheLastOne) {
  ChunkBuilder builder(*RowLayout::Create(TestSignature()), {.rows = 7, .span_episodes = true, .until_cut = true});
  for (int i = 0; i < 4; ++i) Append(builder, 0, i == 1 ? v1::TRUNCATED : i == 3 ? v1::CUT : v1::NOT_ENDED);
  for (int i = 0; i < 2; ++i) Append(builder, 0);
  const v1::ChunkHeader first = Build(builder, 1).chunk();
  ASSERT_EQ(first.segments_size(), 3);
  EXPECT_EQ(Text(first.segments(1)), "first_row: 2 rows: 2 episode_start: true end: CUT");
  ASSERT_EQ(first.items_size(), 1);
  EXPECT_EQ(Text(first.items(0)), "rows: 4 count: 1 stride: 1");
  Append(builder, 0, v1::CUT);
  const v1::ChunkHeader second = Build(builder, 2).chunk();
  ASSERT_EQ(second.items_size(), 1);
  EXPECT_EQ(Text(second.items(0)), "first_row: 4 rows: 3 count: 1 stride: 1");
}

TEST_F(ChunkBuilderTest, ItemsHaveThePriorityThatIsSetWhenTheirLastRowComes) {
  ChunkBuilder builder(*RowLayout::Create(TestSignature()), {.rows = 2, .stride = 1});
  Append(builder, 0);
  Append(builder, 0);  // the first item, without one
  builder.SetPriority(2);
  Append(builder, 0);
  builder.SetPriority(0.5);
  Append(builder, 0);
  builder.SetPriority(std::nullopt);
  Append(builder, 0);
  const v1::ChunkHeader chunk = Build(builder, 1).chunk();
  ASSERT_EQ(chunk.items_size(), 3);
  EXPECT_EQ(Text(chunk.items(0)), "rows: 2 count: 1 stride: 1");
  EXPECT_EQ(Text(chunk.items(1)), "first_row: 1 rows: 2 count: 2 stride: 1 priorities: 2 priorities: 0.5");
  EXPECT_EQ(Text(chunk.items(2)), "first_row: 3 rows: 2 count: 1 stride: 1");
}

TEST_F(ChunkBuilderTest, EachTableHasItemsOfItsOwnPattern) {
  ChunkBuilder builder(*RowLayout::Create(TestSignature()), {.rows = 2, .stride = 1},
                       {{"unrolls", {.rows = 3, .stride = 2}}, {"rounds", {.until_cut = true}}});
  for (int i = 0; i < 4; ++i) Append(builder, 1);
  const v1::ChunkHeader first = Build(builder, 1).chunk();
  ASSERT_EQ(first.items_size(), 2);
  EXPECT_EQ(Text(first.items(0)), "lane: 1 rows: 2 count: 3 stride: 1");
  EXPECT_EQ(Text(first.items(1)), "lane: 1 rows: 3 count: 1 stride: 2 table: \"unrolls\"");
  builder.SetPriority(2);
  Append(builder, 1);
  Append(builder, 1, v1::CUT);
  Append(builder, 1);
  builder.SetPriority(std::nullopt);
  Append(builder, 1, v1::TERMINATED);
  const v1::ChunkHeader second = Build(builder, 2).chunk();
  EXPECT_EQ(second.segments_size(), 2);
  ASSERT_EQ(second.items_size(), 4);
  EXPECT_EQ(Text(second.items(0)), "lane: 1 first_row: 3 rows: 2 count: 2 stride: 1 priorities: 2 priorities: 2");
  EXPECT_EQ(Text(second.items(1)), "lane: 1 first_row: 6 rows: 2 count: 1 stride: 1");
  EXPECT_EQ(Text(second.items(2)), "lane: 1 first_row: 2 rows: 3 count: 1 stride: 2 priorities: 2 table: \"unrolls\"");
  EXPECT_EQ(Text(second.items(3)), "lane: 1 rows: 6 count: 1 stride: 1 priorities: 2 table: \"rounds\"");
}

}  // namespace
}  // namespace headrace
