#include "replay/writer_book.h"

#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

class WriterBookTest : public testing::Test {
 protected:
  // A lane of the writer with so many rows.
  void AddLane(uint64_t id, uint64_t session, uint32_t number, size_t count) {
    std::vector<RowStore::Address> added;
    ASSERT_EQ(rows_.Reserve(count, added), RowStore::Room::kReserved);
    Writer& writer = **writers_.Find(id, session);
    Lane& lane = writer.lanes[number];
    for (const RowStore::Address row : added) {
      rows_.SetNext(row, RowStore::kNoRow);
      if (!lane.window.empty()) rows_.SetNext(lane.window.back(), row);
      lane.window.push_back(row);
    }
    lane.next_row = lane.window.size();
  }

  RowStore rows_{{.stride = 64}, 1 << 20};
  WriterBook writers_{&rows_};
};

TEST_F(WriterBookTest, ANewerStreamTakesOver) {
  const WriterBook::Opened first = writers_.Open(7, 1);
  const WriterBook::Opened second = writers_.Open(7, 1);
  EXPECT_EQ(writers_.connected(), 1u);
  EXPECT_TRUE(absl::IsAborted(writers_.Find(7, first.session).status()));
  EXPECT_TRUE(writers_.Find(7, second.session).ok());
  writers_.Close(7, first.session);
  EXPECT_EQ(writers_.connected(), 1u);
  writers_.Close(7, second.session);
  EXPECT_EQ(writers_.connected(), 0u);
}

TEST_F(WriterBookTest, AStreamThatHasEndedWritesNothingMore) {
  const WriterBook::Opened first = writers_.Open(7, 1);
  writers_.Close(7, first.session);
  const absl::Status ended = writers_.Find(7, first.session).status();
  EXPECT_TRUE(absl::IsAborted(ended)) << ended;
  EXPECT_EQ(ended.message(), "the writer's stream has ended");
  EXPECT_TRUE(writers_.Find(7, writers_.Open(7, 1).session).ok());
}

TEST_F(WriterBookTest, ChunksThatNobodyHasAreLostAndWithThemTheLanes) {
  const WriterBook::Opened first = writers_.Open(7, 1);
  EXPECT_EQ(first.last_sequence, 0u);
  AddLane(7, first.session, 0, 3);
  const WriterBook::Opened second = writers_.Open(7, 5);
  EXPECT_EQ(second.last_sequence, 4u);
  EXPECT_EQ(writers_.lost_chunks(), 4u);
  EXPECT_EQ(writers_.AllProgress().at(0).lost_chunks, 4u);
  EXPECT_TRUE((*writers_.Find(7, second.session))->lanes_forgotten);
  EXPECT_EQ(rows_.used_slabs(), 0u);
}

TEST_F(WriterBookTest, OnlyWritersThatAreGoneLoseTheirLanesToMakeRoom) {
  const WriterBook::Opened here = writers_.Open(1, 1);
  AddLane(1, here.session, 0, 2);
  const WriterBook::Opened gone = writers_.Open(2, 1);
  AddLane(2, gone.session, 0, 2);
  EXPECT_FALSE(writers_.ForgetOldestLanes());
  writers_.Close(2, gone.session);
  EXPECT_TRUE(writers_.ForgetOldestLanes());
  EXPECT_FALSE(writers_.ForgetOldestLanes());
  EXPECT_EQ((*writers_.Find(1, here.session))->lanes.size(), 1u);
}

// In slabs of 1024 rows the lanes of writers 1 and 2 begin in the first, and writer 2 goes on in the fourth.
TEST_F(WriterBookTest, LanesToWhichNothingCameForLongestMakeRoomAlsoOfWritersThatAreThere) {
  const WriterBook::Opened idle = writers_.Open(1, 1), busy = writers_.Open(2, 1);
  AddLane(1, idle.session, 0, 2);
  AddLane(2, busy.session, 0, 2);
  AddLane(2, busy.session, 5, 3 * rows_.rows_per_slab() - 4);
  AddLane(2, busy.session, 0, 1);
  EXPECT_EQ(rows_.used_slabs(), 4u);
  EXPECT_TRUE(writers_.ForgetIdleLanes());
  EXPECT_FALSE(writers_.ForgetIdleLanes());
  EXPECT_TRUE((*writers_.Find(1, idle.session))->lanes.empty());
  EXPECT_TRUE((*writers_.Find(1, idle.session))->lanes_forgotten);
  EXPECT_EQ((*writers_.Find(2, busy.session))->lanes.size(), 2u);
  EXPECT_FALSE((*writers_.Find(2, busy.session))->lanes_forgotten);
  EXPECT_EQ(writers_.connected(), 2u);
}

// Of many writers that came and went without a row, each takes the place of an older one in the book. The rows of that
// one would be kept for ever if it were only forgotten.
TEST_F(WriterBookTest, AWriterThatIsForgottenKeepsNoRows) {
  const WriterBook::Opened first = writers_.Open(1, 1);
  AddLane(1, first.session, 0, 2);
  writers_.Close(1, first.session);
  for (uint64_t id = 2; id <= (1 << 16) + 1; ++id) writers_.Close(id, writers_.Open(id, 1).session);
  EXPECT_EQ(rows_.used_slabs(), 0u);
  EXPECT_FALSE(writers_.ForgetOldestLanes());
}

// Lanes that have ended hold no rows that somebody's need of room would free: a writer that begins ever new ones must
// not have the book grow with them.
TEST_F(WriterBookTest, OfManyLanesThoseThatHaveEndedAreForgotten) {
  const WriterBook::Opened opened = writers_.Open(1, 1);
  AddLane(1, opened.session, 0, 2);
  Writer& writer = **writers_.Find(1, opened.session);
  for (uint32_t number = 1; number < 50'000; ++number) {
    writer.LaneOf(number).next_row = 1;
    writer.PruneLanes();
    ASSERT_LE(writer.lanes.size(), Writer::kLanesBeforePruning);
  }
  EXPECT_TRUE(writer.lanes_forgotten);
  EXPECT_EQ(writer.lanes.at(0).window.size(), 2u) << "it may go on";
}

TEST_F(WriterBookTest, OfWritersThatAreGoneThereAreNotMoreLanesThanARunHas) {
  size_t lanes = 0;
  for (uint64_t id = 1; id <= 1000; ++id) {
    const WriterBook::Opened opened = writers_.Open(id, 1);
    for (uint32_t number = 0; number < 1000; ++number)
      (*writers_.Find(id, opened.session))->LaneOf(number).next_row = 1;
    writers_.Close(id, opened.session);
  }
  for (const v1::WriterCheckpoint& writer : writers_.Save().ToMessages("t")) {
    lanes += static_cast<size_t>(writer.lanes_size());
  }
  EXPECT_LE(lanes, size_t{1} << 17);
  EXPECT_GT(lanes, size_t{1} << 16);
  // One that comes back takes its lanes with it.
  EXPECT_EQ((*writers_.Find(1000, writers_.Open(1000, 1).session))->lanes.size(), 1000u);
  while (writers_.ForgetOldestLanes()) {
  }
  EXPECT_EQ(writers_.Save().ToMessages("t").size(), 1000u) << "what they had committed is known";
}

TEST_F(WriterBookTest, IsRestoredAsItWasSaved) {
  const WriterBook::Opened opened = writers_.Open(7, 3);
  AddLane(7, opened.session, 4, 3);
  std::vector<v1::WriterCheckpoint> saved = writers_.Save().ToMessages("t");
  ASSERT_EQ(saved.size(), 1u);
  EXPECT_EQ(saved[0].table(), "t");
  // Windows are saved as addresses and restored from numbers of rows.
  std::vector<RowStore::Address> rows(saved[0].lanes(0).window().begin(), saved[0].lanes(0).window().end());
  for (size_t i = 0; i < rows.size(); ++i) saved[0].mutable_lanes(0)->set_window(static_cast<int>(i), i);

  WriterBook restored(&rows_);
  ASSERT_TRUE(restored.Restore(saved, rows).ok());
  EXPECT_EQ(restored.connected(), 0u);
  const WriterBook::Opened again = restored.Open(7, 1);
  EXPECT_EQ(again.last_sequence, 2u);
  EXPECT_EQ((*restored.Find(7, again.session))->lanes.at(4).next_row, 3u);

  saved[0].add_lanes()->set_lane(4);
  WriterBook twice(&rows_);
  EXPECT_TRUE(absl::IsDataLoss(twice.Restore(saved, rows)));
}

}  // namespace
}  // namespace headrace
