#include <deque>
#include <memory>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "replay/table.h"
#include "replay/testing.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;
using Outcome = Table::Outcome;

TEST(TableFlowTest, InsertionWaitsAtItsLimitAndGoesOnWithTheNextGrant) {
  v1::TableSpec spec = TestSpec();
  spec.set_initial_insert_limit(3);
  const std::unique_ptr<Table> table = MakeTestTable(spec);
  const Table::OpenedWriter opened = table->OpenWriter(7, 1);
  ChunkBuilder builder(table->layout(), {});
  const auto build = [&](uint64_t sequence) {
    const TestRow row(0, sequence - 1);
    builder.Append(0, row.columns(), v1::NOT_ENDED);
    return builder.Build(sequence);
  };
  for (uint64_t sequence = 1; sequence <= 3; ++sequence) {
    EXPECT_EQ(*InsertInto(*table, 7, opened.session, build(sequence)), Outcome::kDone);
  }
  const grpc::Slice fourth = build(4);
  int woken = 0;
  int told = 0;
  table->WatchOnce(UINT64_MAX, {&told, [&] { ++told; }});
  EXPECT_EQ(*InsertInto(*table, 7, opened.session, fourth, {&builder, [&] { ++woken; }}), Outcome::kWait);
  EXPECT_EQ(told, 1) << "who grants is told of the writer that waits";
  EXPECT_EQ(table->State().blocked_writers(), 1u);
  table->SetInsertLimit(3, 0);
  EXPECT_EQ(woken, 0) << "nothing was granted";
  table->SetInsertLimit(4, 0);
  EXPECT_EQ(woken, 1);
  EXPECT_EQ(table->State().blocked_writers(), 0u);
  EXPECT_EQ(*InsertInto(*table, 7, opened.session, fourth, {&builder, [] {}}), Outcome::kDone);
  EXPECT_EQ(table->State().inserted_steps(), 4u);
}

// A grant of one step used to wake every writer that waited, in no order: all but one had to wait again.
TEST(TableFlowTest, AGrantWakesAsManyWritersAsItAdmitsInTheirOrder) {
  v1::TableSpec spec = TestSpec();
  spec.set_initial_insert_limit(0);
  const std::unique_ptr<Table> table = MakeTestTable(spec);
  std::vector<uint64_t> woken;
  std::deque<TestWriter> writers;
  for (uint64_t id = 0; id < 10; ++id) {
    TestWriter& writer = writers.emplace_back(table.get(), id + 1);
    writer.Append(0, 1);
    EXPECT_EQ(*writer.Insert([&woken, id] { woken.push_back(id); }), Outcome::kWait);
  }
  table->SetInsertLimit(1, 0);
  EXPECT_THAT(woken, testing::ElementsAre(0));
  EXPECT_EQ(*writers[0].InsertAgain(), Outcome::kDone);
  EXPECT_THAT(woken, testing::ElementsAre(0));
  EXPECT_EQ(table->State().blocked_writers(), 9u);
  table->SetInsertLimit(3, 0);
  EXPECT_THAT(woken, testing::ElementsAre(0, 1, 2));
  // One that goes instead of inserting makes room for the next.
  table->StopWaiting(&writers[1]);
  EXPECT_THAT(woken, testing::ElementsAre(0, 1, 2, 3));
}

TEST(TableFlowTest, AWaitingWriterThatGoesIsForgotten) {
  v1::TableSpec spec = TestSpec();
  spec.set_initial_insert_limit(0);
  const std::unique_ptr<Table> table = MakeTestTable(spec);
  TestWriter writer(table.get(), 7);
  writer.Append(0, 1);
  int woken = 0;
  EXPECT_EQ(*writer.Insert([&] { ++woken; }), Outcome::kWait);
  table->StopWaiting(&writer);
  EXPECT_EQ(table->State().blocked_writers(), 0u);
  table->SetInsertLimit(10, 0);
  EXPECT_EQ(woken, 0);
}

TEST(TableFlowTest, AWatchIsOnlyEverTheOwnersNewest) {
  const std::unique_ptr<Table> table = MakeTestTable(TestSpec());
  TestWriter writer(table.get(), 7);
  int first = 0;
  int second = 0;
  table->WatchOnce(1, {&first, [&] { ++first; }});
  table->WatchOnce(2, {&first, [&] { ++second; }});
  writer.Append(0, 1);
  ASSERT_TRUE(writer.Insert().ok());
  EXPECT_EQ(first + second, 0);
  writer.Append(0, 1);
  ASSERT_TRUE(writer.Insert().ok());
  EXPECT_EQ(second, 1);
  table->WatchOnce(2, {&first, [&] { ++first; }});
  EXPECT_EQ(first, 1) << "at once: the steps have been inserted";
}

// The learner counts the steps it is told. Had it been told of some that a killed shard then does not have, it would
// count them twice when their writer sends them again.
TEST(TableFlowTest, StepsAreToldWhenTheJournalHasThem) {
  v1::TableSpec spec = TestSpec();
  spec.set_initial_insert_limit(2);
  const std::unique_ptr<Table> table = MakeTestTable(spec);
  const Table::OpenedWriter opened = table->OpenWriter(7, 1);
  ChunkBuilder builder(table->layout(), {});
  uint64_t rows = 0;
  uint64_t last = 0;
  const auto insert = [&](v1::EpisodeEnd end, uint64_t journal_entry) {
    const TestRow row(0, rows++);
    builder.Append(0, row.columns(), end);
    return *InsertInto(*table, 7, opened.session, builder.Build(++last), {&builder, [] {}}, journal_entry);
  };
  int told = 0;
  const auto watch = [&](uint64_t steps) { table->WatchOnce(steps, {&told, [&] { ++told; }}); };

  watch(1);
  ASSERT_EQ(insert(v1::NOT_ENDED, 5), Outcome::kDone);
  table->SetDurable(4);  // another table's
  EXPECT_EQ(told, 0);
  EXPECT_EQ(table->State().inserted_steps(), 0u);
  EXPECT_EQ(table->TakeSnapshot().tables[0].state.inserted_steps(), 1u) << "a checkpoint has its rows, too";
  table->SetDurable(5);
  EXPECT_EQ(told, 1);
  EXPECT_EQ(table->State().inserted_steps(), 1u);

  // An item without a step is nothing that a number of steps could be watched for.
  watch(UINT64_MAX);
  ASSERT_EQ(insert(v1::TERMINATED, 6), Outcome::kDone);
  EXPECT_EQ(told, 1);
  table->SetDurable(6);
  EXPECT_EQ(told, 2);

  // Of a writer that waits it is told at once, and again when the state has all steps before it: by them it grants.
  watch(UINT64_MAX);
  ASSERT_EQ(insert(v1::NOT_ENDED, 9), Outcome::kDone);
  ASSERT_EQ(insert(v1::NOT_ENDED, 10), Outcome::kWait);
  EXPECT_EQ(told, 3);
  EXPECT_EQ(table->State().inserted_steps(), 1u);
  watch(UINT64_MAX);
  table->SetDurable(8);
  EXPECT_EQ(told, 3);
  table->SetDurable(9);
  EXPECT_EQ(told, 4);
  EXPECT_EQ(table->State().inserted_steps(), 2u);
}

TEST(TableFlowTest, InLockstepAcknowledgementsWaitForFurtherSteps) {
  v1::TableSpec spec = TestSpec();
  spec.set_initial_insert_limit(2);
  spec.set_lockstep(true);
  const std::unique_ptr<Table> table = MakeTestTable(spec);
  TestWriter writer(table.get(), 7);
  int woken = 0;
  const auto acknowledge = [&] { return table->Acknowledge({&writer, [&] { ++woken; }}); };
  writer.Append(0, 1);
  ASSERT_TRUE(writer.Insert().ok());
  EXPECT_EQ(acknowledge(), Outcome::kDone);
  writer.Append(0, 1);
  ASSERT_TRUE(writer.Insert().ok());
  EXPECT_EQ(acknowledge(), Outcome::kWait);
  table->SetInsertLimit(3, 42);
  EXPECT_EQ(woken, 1);
  EXPECT_EQ(acknowledge(), Outcome::kDone);
  EXPECT_EQ(table->policy_version(), 42u);
}

TEST(TableFlowTest, AQueueGivesEachItemOnceAndInOrder) {
  v1::TableSpec spec = TestSpec();
  spec.set_sampler(v1::FIRST_IN_FIRST_OUT);
  spec.set_max_times_sampled(1);
  const std::unique_ptr<Table> table = MakeTestTable(spec);
  TestWriter writer(table.get(), 7);
  uint64_t next = 0;
  for (int i = 0; i < 50; ++i) {
    writer.Append(0, 7);
    ASSERT_TRUE(writer.Insert().ok());
    while (table->State().items() >= 4) {
      const absl::StatusOr<FirstRows> drawn = SampleFirstRows(*table, 4, i);
      ASSERT_TRUE(drawn.ok());
      for (const auto& [lane, row] : *drawn) EXPECT_EQ(row, next++);
    }
  }
  EXPECT_GT(next, 340u);
  // A batch is given whole or not at all.
  const uint64_t left = table->State().items();
  EXPECT_TRUE(absl::IsUnavailable(SampleFirstRows(*table, static_cast<uint32_t>(left) + 1).status()));
  EXPECT_EQ(table->State().items(), left);
}

v1::TableSpec QueueSpec(uint64_t max_items) {
  v1::TableSpec spec = TestSpec();
  spec.set_sampler(v1::FIRST_IN_FIRST_OUT);
  spec.set_max_times_sampled(1);
  spec.set_max_item_rows(2);
  spec.set_max_items(max_items);
  spec.set_queue(true);
  spec.set_items_span_episodes(true);
  return spec;
}

TEST(TableFlowTest, InsertionWaitsWhileAQueueIsFullAndNothingIsRemoved) {
  const std::unique_ptr<Table> table = MakeTestTable(QueueSpec(4));
  TestWriter writer(table.get(), 7);
  EXPECT_EQ(table->StepsToLimit(), 4u);
  writer.Append(0, 7);  // 6 items: the last chunk may exceed the queue
  ASSERT_EQ(*writer.Insert(), Outcome::kDone);
  EXPECT_EQ(table->StepsToLimit(), 0u);
  int woken = 0;
  writer.Append(0, 1);
  ASSERT_EQ(*writer.Insert([&] { ++woken; }), Outcome::kWait);
  EXPECT_EQ(table->State().blocked_writers(), 1u);
  ASSERT_TRUE(SampleFirstRows(*table, 2).ok());
  EXPECT_EQ(woken, 0);  // 4 items are still there
  const absl::StatusOr<FirstRows> drawn = SampleFirstRows(*table, 1);
  ASSERT_TRUE(drawn.ok());
  EXPECT_EQ(*drawn, FirstRows({{0, 2}}));
  EXPECT_EQ(woken, 1);
  ASSERT_EQ(*writer.InsertAgain(), Outcome::kDone);
  EXPECT_EQ(table->State().items(), 4u);
  EXPECT_EQ(table->State().removed_items(), 3u);  // those that were sampled
}

TEST(TableFlowTest, ItemsThatComeWithoutAStepWakeThoseWhoCountSteps) {
  const std::unique_ptr<Table> table = MakeTestTable(QueueSpec(4));
  TestWriter writer(table.get(), 7, {.rows = 2, .span_episodes = true, .until_cut = true});
  writer.Append(0, 1);
  ASSERT_EQ(*writer.Insert(), Outcome::kDone);
  int woken = 0;
  table->WatchOnce(table->State().inserted_steps() + 1, {&woken, [&] { ++woken; }});
  writer.Append(0, 1, v1::CUT);  // an observation, and with it an item
  ASSERT_EQ(*writer.Insert(), Outcome::kDone);
  EXPECT_EQ(table->State().items(), 1u);
  EXPECT_EQ(woken, 1);
}

TEST(TableFlowTest, AQueueRefusesAChunkOfMoreItemsThanItCouldEverHold) {
  const std::unique_ptr<Table> table = MakeTestTable(QueueSpec(4));
  TestWriter writer(table.get(), 7);
  writer.Append(0, 2000);
  const absl::Status status = writer.Insert().status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("a chunk of 1999 items does not fit into the queue \"t\" of 4"));
}

TEST(TableFlowTest, ItemsOfAQueueSpanEpisodesAndChunks) {
  const std::unique_ptr<Table> table = MakeTestTable(QueueSpec(100));
  TestWriter writer(table.get(), 7, {.rows = 2, .stride = 1, .span_episodes = true});
  writer.Append(0, 2, v1::TERMINATED);
  ASSERT_EQ(*writer.Insert(), Outcome::kDone);
  writer.Append(0, 2);
  ASSERT_EQ(*writer.Insert(), Outcome::kDone);
  const absl::StatusOr<FirstRows> drawn = SampleFirstRows(*table, 3);
  ASSERT_TRUE(drawn.ok()) << drawn.status();
  EXPECT_EQ(*drawn, FirstRows({{0, 0}, {0, 1}, {0, 2}}));
}

}  // namespace
}  // namespace headrace
