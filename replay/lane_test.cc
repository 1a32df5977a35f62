#include "replay/lane.h"

#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "replay/wire.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;

void AddSegment(v1::ChunkHeader& chunk, uint32_t lane, uint64_t first_row, uint32_t rows, bool start,
                v1::EpisodeEnd end = v1::NOT_ENDED) {
  v1::Segment& segment = *chunk.add_segments();
  segment.set_lane(lane);
  segment.set_first_row(first_row);
  segment.set_rows(rows);
  segment.set_episode_start(start);
  segment.set_end(end);
}

void AddItems(v1::ChunkHeader& chunk, uint32_t lane, uint64_t first_row, uint32_t rows, uint32_t count = 1,
              uint32_t stride = 1) {
  v1::ItemRun& run = *chunk.add_items();
  run.set_lane(lane);
  run.set_first_row(first_row);
  run.set_rows(rows);
  run.set_count(count);
  run.set_stride(stride);
}

class CheckChunkTest : public testing::Test {
 protected:
  // Lane 0 is in an episode that began at row 90 and has reached row 100, of which the newest 4 rows are kept. Lane 1
  // is between episodes, at row 50.
  CheckChunkTest() {
    Lane& busy = writer_.lanes[0];
    busy.next_row = 100;
    busy.episode_first_row = 90;
    busy.in_episode = true;
    busy.window = {6, 7, 8, 9};
    Lane& idle = writer_.lanes[1];
    idle.next_row = 50;
    spec_.set_max_item_rows(4);
  }

  absl::StatusOr<ChunkSize> Check() { return CheckChunk(writer_, chunk_, tables_); }
  void ExpectRefused(const std::string& why) {
    const absl::Status status = Check().status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(status.message(), HasSubstr(why));
  }

  Writer writer_;
  v1::ChunkHeader chunk_;
  v1::TableSpec spec_;
  std::vector<const v1::TableSpec*> tables_ = {&spec_};
};

TEST_F(CheckChunkTest, CountsRowsStepsAndItems) {
  AddSegment(chunk_, 0, 100, 3, false, v1::TERMINATED);  // 2 steps and the final observation
  AddSegment(chunk_, 0, 103, 5, true);                   // 5 steps
  AddSegment(chunk_, 1, 50, 1, true);                    // 1 step
  AddItems(chunk_, 0, 98, 2, 4);                         // rows 98-99, ..., 101-102
  AddItems(chunk_, 0, 103, 2, 2, 3);                     // rows 103-104 and 106-107
  const absl::StatusOr<ChunkSize> size = Check();
  ASSERT_TRUE(size.ok()) << size.status();
  EXPECT_EQ(size->rows, 9u);
  EXPECT_EQ(size->steps, 8u);
  EXPECT_EQ(size->items, 6u);
}

TEST_F(CheckChunkTest, RefusesARowThatIsNotTheNext) {
  AddSegment(chunk_, 0, 101, 1, false);
  ExpectRefused("lane 0: expected its row 100 next, got row 101");
}

TEST_F(CheckChunkTest, RefusesALaneThatDoesNotBeginAtItsFirstRow) {
  AddSegment(chunk_, 2, 1, 1, true);
  ExpectRefused("lane 2: expected its row 0 next, got row 1");
}

TEST_F(CheckChunkTest, RefusesAnEpisodeThatWasNotStarted) {
  AddSegment(chunk_, 1, 50, 1, false);
  ExpectRefused("row 50 continues an episode that was not started");
}

TEST_F(CheckChunkTest, RefusesAnEpisodeWithinAnother) {
  AddSegment(chunk_, 0, 100, 1, true);
  ExpectRefused("row 100 starts an episode before the last one has ended");
}

TEST_F(CheckChunkTest, RefusesEmptySegments) {
  AddSegment(chunk_, 0, 100, 0, false);
  ExpectRefused("at least one row");
}

TEST_F(CheckChunkTest, RefusesTooManyLanesAndRows) {
  AddSegment(chunk_, kMaxLanesPerWriter, 0, 1, true);
  ExpectRefused("expected lanes below 65536, got 65536");
  chunk_.Clear();
  AddSegment(chunk_, 1, 50, kMaxRowsPerChunk, true);
  EXPECT_TRUE(Check().ok());
  chunk_.Clear();
  AddSegment(chunk_, 1, 50, kMaxRowsPerChunk + 1, true);
  ExpectRefused("at most 65536 rows");
  chunk_.Clear();
  AddSegment(chunk_, 1, 50, UINT32_MAX, true);
  ExpectRefused("at most 65536 rows");
}

TEST_F(CheckChunkTest, ItemsMayReachBackAsFarAsRowsAreKept) {
  AddSegment(chunk_, 0, 100, 1, false);
  AddItems(chunk_, 0, 97, 4);
  EXPECT_TRUE(Check().ok());
  chunk_.clear_items();
  AddItems(chunk_, 0, 96, 4);
  EXPECT_TRUE(Check().ok()) << "the oldest row that is kept";
  chunk_.clear_items();
  AddItems(chunk_, 0, 95, 4);
  ExpectRefused("the rows from 95 on are not, or no longer, rows of one episode");
}

TEST_F(CheckChunkTest, ItemsDoNotReachBackBeforeTheirEpisode) {
  writer_.lanes[0].episode_first_row = 98;
  AddSegment(chunk_, 0, 100, 1, false);
  AddItems(chunk_, 0, 98, 3);
  EXPECT_TRUE(Check().ok());
  AddItems(chunk_, 0, 97, 3);
  ExpectRefused("from 97 on");
}

TEST_F(CheckChunkTest, ItemsDoNotSpanEpisodes) {
  AddSegment(chunk_, 0, 100, 3, false, v1::TRUNCATED);
  AddSegment(chunk_, 0, 103, 3, true);
  AddItems(chunk_, 0, 100, 2, 3);  // the third would be rows 102 and 103
  ExpectRefused("from 102 on");
}

TEST_F(CheckChunkTest, RefusesItemsOfRowsThatHaveNotArrived) {
  AddSegment(chunk_, 0, 100, 2, false);
  AddItems(chunk_, 0, 101, 2);
  ExpectRefused("from 101 on");
}

TEST_F(CheckChunkTest, RefusesItemsOfALaneWithoutRows) {
  AddSegment(chunk_, 0, 100, 1, false);
  AddItems(chunk_, 1, 49, 1);
  ExpectRefused("items of lane 1, of which the chunk has no rows");
}

// Whoever samples slices of three rows could sample nothing any more.
TEST_F(CheckChunkTest, RefusesItemsThatAreShorterThanTheTableSays) {
  spec_.set_min_item_rows(3);
  AddSegment(chunk_, 0, 100, 10, false);
  AddItems(chunk_, 0, 100, 3);
  EXPECT_TRUE(Check().ok());
  AddItems(chunk_, 0, 103, 2);
  ExpectRefused("expected 3 to 4 rows");
}

TEST_F(CheckChunkTest, RefusesImpossibleItemRuns) {
  AddSegment(chunk_, 0, 100, 10, false);
  AddItems(chunk_, 0, 100, 0);
  ExpectRefused("expected 1 to 4 rows");
  chunk_.clear_items();
  AddItems(chunk_, 0, 100, 5);
  ExpectRefused("expected 1 to 4 rows");
  chunk_.clear_items();
  AddItems(chunk_, 0, 100, 2, 0);
  ExpectRefused("count and a stride above 0");
  chunk_.clear_items();
  AddItems(chunk_, 0, 100, 2, 2, 0);
  ExpectRefused("count and a stride above 0");
  chunk_.clear_items();
  AddItems(chunk_, 0, 100, 1, kMaxRowsPerChunk + 1);
  ExpectRefused("at most 65536 items");
}

TEST_F(CheckChunkTest, RefusesWhatIsNoPriority) {
  AddSegment(chunk_, 0, 100, 10, false);
  AddItems(chunk_, 0, 100, 2, 3);
  v1::ItemRun& run = *chunk_.mutable_items(0);
  run.add_priorities(1);
  ExpectRefused("expected a priority for each or none, got 1");
  run.add_priorities(0);
  for (const float wrong : {-1.0f, std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    run.add_priorities(wrong);
    ExpectRefused("expected finite priorities of 0 or more, got");
    run.mutable_priorities()->RemoveLast();
  }
  run.add_priorities(2.5);
  EXPECT_TRUE(Check().ok());
}

// An item at the last row number passed, because the sum with its length wrapped around to a small one.
TEST_F(CheckChunkTest, RefusesRowNumbersThatWrapAround) {
  AddSegment(chunk_, 0, 100, 1, false);
  AddItems(chunk_, 0, UINT64_MAX, 2);
  ExpectRefused("row or stride too large");
  chunk_.Clear();
  writer_.lanes[0].broken = true;
  AddSegment(chunk_, 0, UINT64_MAX - 1, 4, false);
  ExpectRefused("expected rows below");
}

TEST_F(CheckChunkTest, AfterLostChunksALaneGoesOnWhereItIs) {
  for (const bool start : {true, false}) {
    chunk_.Clear();
    writer_.lanes[0].broken = true;
    writer_.lanes[0].window.clear();
    AddSegment(chunk_, 0, 500, 3, start);
    AddItems(chunk_, 0, 498, 2, 4);  // those from rows 498 and 499 are lost, with their rows
    EXPECT_TRUE(Check().ok()) << Check().status();
    AddItems(chunk_, 0, 502, 2);
    ExpectRefused("from 502 on");
  }
}

TEST_F(CheckChunkTest, AfterLanesWereForgottenAnUnknownOneBeginsAnywhere) {
  writer_.lanes_forgotten = true;
  AddSegment(chunk_, 5, 77, 2, false);
  EXPECT_TRUE(Check().ok());
  AddSegment(chunk_, 5, 80, 2, false);
  ExpectRefused("expected its row 79 next, got row 80");
}

TEST_F(CheckChunkTest, ChangesNothing) {
  AddSegment(chunk_, 0, 100, 3, false, v1::TERMINATED);
  AddSegment(chunk_, 7, 0, 3, true);
  ASSERT_TRUE(Check().ok());
  EXPECT_EQ(writer_.lanes.size(), 2u);
  EXPECT_EQ(writer_.lanes[0].next_row, 100u);
  EXPECT_TRUE(writer_.lanes[0].in_episode);
}

TEST_F(CheckChunkTest, ItemsReachOverTheEndsOfEpisodesOnlyWhereTheTableSaysSo) {
  AddSegment(chunk_, 0, 100, 2, false, v1::TERMINATED);
  AddSegment(chunk_, 0, 102, 2, true);
  AddItems(chunk_, 0, 98, 4);  // two rows of an earlier chunk, the episode's last two
  AddItems(chunk_, 0, 100, 4);
  ExpectRefused("rows from 100 on are not, or no longer, rows of one episode");
  spec_.set_items_span_episodes(true);
  EXPECT_TRUE(Check().ok()) << Check().status();
  AddItems(chunk_, 0, 101, 4);  // up to row 104, which has not arrived
  ExpectRefused("rows from 101 on are not, or no longer, rows of one lane");
}

TEST_F(CheckChunkTest, ItemsThatSpanEpisodesReachBackIntoAnEpisodeThatHasEnded) {
  writer_.lanes[1].window = {1, 2};  // rows 48 and 49
  AddSegment(chunk_, 1, 50, 2, true);
  AddItems(chunk_, 1, 48, 4);
  ExpectRefused("rows from 48 on");
  spec_.set_items_span_episodes(true);
  EXPECT_TRUE(Check().ok()) << Check().status();
}

}  // namespace
}  // namespace headrace
