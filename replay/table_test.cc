#include "replay/table.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <optional>
#include <set>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "replay/testing.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;
using Outcome = Table::Outcome;

std::unique_ptr<Table> MakeTable(const v1::TableSpec& spec) {
  absl::StatusOr<std::unique_ptr<Table>> table = Table::Create(spec, 0, 1);
  EXPECT_TRUE(table.ok()) << table.status();
  return *std::move(table);
}

// The first rows of the items of a batch, as (lane, row).
using Drawn = std::vector<std::pair<uint32_t, uint64_t>>;

absl::StatusOr<Drawn> SampleFrom(
    Table& table, uint32_t count, uint64_t key = 1, Table::Callback retry = [] {}) {
  Table::Batch batch;
  const absl::StatusOr<Outcome> outcome = table.Sample({count, 1, key}, batch, {&table, std::move(retry)});
  if (!outcome.ok()) return outcome.status();
  if (*outcome == Outcome::kWait) return absl::UnavailableError("must wait");
  std::vector<std::array<float, 2>> observations(batch.items().size());
  const std::vector<Slice> slices = {{0, 0, 1}};
  const std::vector<std::byte*> blocks = {reinterpret_cast<std::byte*>(observations.data())};
  table.Gather(batch.items(), slices, blocks);
  Drawn drawn;
  for (const auto& [lane, row] : observations) drawn.emplace_back(lane, row);
  return drawn;
}

TEST(TableTest, RefusesSpecificationsThatAreNotUsable) {
  const auto expect_refused = [](const std::function<void(v1::TableSpec&)>& change, const std::string& why) {
    v1::TableSpec spec = TestSpec();
    change(spec);
    const absl::Status status = Table::Create(spec, 0, 1).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << why;
    EXPECT_THAT(status.message(), HasSubstr(why));
  };
  expect_refused([](v1::TableSpec& spec) { spec.clear_name(); }, "expected a name");
  expect_refused([](v1::TableSpec& spec) { spec.clear_signature(); }, "signature with columns");
  expect_refused([](v1::TableSpec& spec) { spec.clear_sampler(); }, "unknown selector 0");
  expect_refused([](v1::TableSpec& spec) { spec.set_max_item_rows(0); }, "max_item_rows from 1");
  expect_refused([](v1::TableSpec& spec) { spec.set_max_item_rows(70000); }, "max_item_rows from 1");
  expect_refused([](v1::TableSpec& spec) { spec.set_min_item_rows(5); }, "min_item_rows up to 4");
  expect_refused([](v1::TableSpec& spec) { spec.set_max_times_sampled(70000); }, "max_times_sampled up to");
  expect_refused([](v1::TableSpec& spec) { spec.set_queue(true); }, "a queue needs max_items and max_times_sampled");
  expect_refused(
      [](v1::TableSpec& spec) {
        spec.set_queue(true);
        spec.set_max_times_sampled(1);
        spec.set_max_items(1 << 20);
      },
      "does not hold twice a queue's 1048576 items");
  expect_refused([](v1::TableSpec& spec) { spec.set_priority_exponent(-1); }, "priority_exponent of 0 or more, got -1");
  expect_refused([](v1::TableSpec& spec) { spec.set_priority_exponent(NAN); }, "priority_exponent of 0 or more");
  expect_refused([](v1::TableSpec& spec) { spec.set_max_bytes(100); }, "less than two items");
  expect_refused([](v1::TableSpec& spec) { spec.set_max_bytes(0); }, "less than two items");
  expect_refused([](v1::TableSpec& spec) { spec.set_min_items(1 << 20); }, "min_items is 1048576");
}

TEST(TableTest, SamplesWhatWasInserted) {
  const std::unique_ptr<Table> table = MakeTable(TestSpec());
  TestWriter writer(table.get(), 7);
  writer.Append(0, 3, v1::TERMINATED);  // rows 0 to 2: 2 transitions
  writer.Append(1, 2);                  // rows 0 and 1: 1 transition
  ASSERT_TRUE(writer.Insert().ok());
  writer.Append(1, 1);  // row 2: a transition that begins in the chunk before
  ASSERT_TRUE(writer.Insert().ok());
  const v1::TableState state = table->State();
  EXPECT_EQ(state.items(), 4u);
  EXPECT_EQ(state.inserted_steps(), 2u + 3u);
  const absl::StatusOr<Drawn> drawn = SampleFrom(*table, 1000);
  ASSERT_TRUE(drawn.ok());
  const std::set<std::pair<uint32_t, uint64_t>> distinct(drawn->begin(), drawn->end());
  EXPECT_THAT(distinct,
              testing::ElementsAre(testing::Pair(0, 0), testing::Pair(0, 1), testing::Pair(1, 0), testing::Pair(1, 1)));
  EXPECT_EQ(table->State().sampled_items(), 1000u);
  EXPECT_EQ(table->State().sampled_steps(), 1000u) << "a transition is one step";
}

TEST(TableTest, TheSameKeyDrawsTheSameItems) {
  const std::unique_ptr<Table> table = MakeTable(TestSpec());
  TestWriter writer(table.get(), 7);
  writer.Append(0, 500);
  ASSERT_TRUE(writer.Insert().ok());
  EXPECT_EQ(*SampleFrom(*table, 50, 3), *SampleFrom(*table, 50, 3));
  EXPECT_NE(*SampleFrom(*table, 50, 3), *SampleFrom(*table, 50, 4));
}

TEST(TableTest, StaysWithinItsBudgetAndKeepsTheNewest) {
  v1::TableSpec spec = TestSpec();
  spec.set_max_bytes(100'000);
  const std::unique_ptr<Table> table = MakeTable(spec);
  TestWriter writer(table.get(), 7);
  uint64_t rows = 0;
  for (int i = 0; i < 500; ++i) {
    const uint32_t count = 1 + i * 37 % 90;
    writer.Append(0, count, i % 5 == 0 ? v1::TRUNCATED : v1::NOT_ENDED);
    ASSERT_TRUE(writer.Insert().ok());
    rows += count;
    ASSERT_LE(table->State().stored_bytes(), spec.max_bytes());
  }
  const v1::TableState state = table->State();
  EXPECT_EQ(state.inserted_items(), state.items() + state.removed_items());
  // A row takes 28 bytes and an item 40: 1470 of both, less two slabs of a sixteenth: one being emptied, one filled.
  EXPECT_GT(state.items(), 1200u);
  const absl::StatusOr<Drawn> drawn = SampleFrom(*table, 5000);
  for (const auto& [lane, row] : *drawn) EXPECT_GT(row + 1600, rows);
}

TEST(TableTest, RemovesTheOldestBeyondMaxItems) {
  v1::TableSpec spec = TestSpec();
  spec.set_max_items(10);
  spec.set_sampler(v1::FIRST_IN_FIRST_OUT);
  const std::unique_ptr<Table> table = MakeTable(spec);
  TestWriter writer(table.get(), 7);
  writer.Append(0, 31);  // 30 transitions
  ASSERT_TRUE(writer.Insert().ok());
  EXPECT_EQ(table->State().items(), 10u);
  EXPECT_EQ(table->State().removed_items(), 20u);
  EXPECT_EQ(table->BudgetRemovedItems(), 0u) << "there was place in memory for all";
  EXPECT_THAT(*SampleFrom(*table, 1), testing::ElementsAre(testing::Pair(0, 20)));
}

// An alert once waited for 98% of the budget, which no table of this size ever uses: it keeps slabs for reads.
TEST(TableTest, CountsItemsThatGoForWantOfBytes) {
  v1::TableSpec spec = TestSpec();
  spec.set_max_items(100'000);  // of 32 bytes, and rows of 28: 17,476 of both would take 1 MiB
  const std::unique_ptr<Table> table = MakeTable(spec);
  TestWriter writer(table.get(), 7);
  for (int i = 0; i < 500; ++i) {
    writer.Append(0, 100);
    ASSERT_TRUE(writer.Insert().ok());
  }
  const v1::TableState state = table->State();
  EXPECT_LT(state.items(), spec.max_items());
  EXPECT_GT(state.removed_items(), 0u);
  EXPECT_EQ(table->BudgetRemovedItems(), state.removed_items());
  EXPECT_LT(static_cast<double>(state.stored_bytes()), 0.98 * static_cast<double>(spec.max_bytes()));
}

TEST(TableTest, RefusesAChunkThatCanNeverFit) {
  v1::TableSpec spec = TestSpec();
  spec.set_max_bytes(2000);
  const std::unique_ptr<Table> table = MakeTable(spec);
  TestWriter writer(table.get(), 7);
  writer.Append(0, 5);
  ASSERT_TRUE(writer.Insert().ok());
  EXPECT_EQ(table->State().items(), 4u);
  writer.Append(0, 100);
  const absl::Status status = writer.Insert().status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(status.message(), HasSubstr("100 rows does not fit into the budget of 2000 bytes"));
  EXPECT_EQ(table->State().items(), 4u) << "nothing was removed for it";
}

// Rows that the lanes of writers long gone may still refer to must not fill a table.
TEST(TableTest, WritersThatAreGoneGiveWay) {
  v1::TableSpec spec = TestSpec();
  spec.set_max_bytes(20'000);
  const std::unique_ptr<Table> table = MakeTable(spec);
  for (uint64_t id = 1; id <= 200; ++id) {
    TestWriter writer(table.get(), id);
    for (int i = 0; i < 10; ++i) {
      writer.Append(0, 8);
      ASSERT_TRUE(writer.Insert().ok()) << id;
    }
    table->CloseWriter(id, writer.opened().session);
  }
  EXPECT_EQ(table->State().writers(), 0u);
}

// A single row that such a lane may refer to keeps its slab. All items used to go before the first of these rows did.
TEST(TableTest, ItemsAreNotRemovedForTheSakeOfWritersThatAreGone) {
  v1::TableSpec spec = TestSpec();
  spec.set_max_bytes(20'000);  // 16 slabs of about 18 rows
  const std::unique_ptr<Table> table = MakeTable(spec);
  for (uint64_t id = 1; id <= 16; ++id) {
    TestWriter gone(table.get(), id);
    gone.Append(0, 18);
    ASSERT_TRUE(gone.Insert().ok());
    table->CloseWriter(id, gone.opened().session);
  }
  TestWriter writer(table.get(), 100);
  for (int i = 0; i < 200; ++i) {
    writer.Append(0, 3);
    ASSERT_TRUE(writer.Insert().ok());
    EXPECT_GT(table->State().items(), 150u) << i;
  }
}

// Each of the writers keeps the last of its rows, in a slab of its own, for an item that may never come.
TEST(TableTest, ItemsAreNotRemovedForTheSakeOfWritersThatSayNothing) {
  v1::TableSpec spec = TestSpec();
  spec.set_max_bytes(20'000);  // 16 slabs of about 18 rows
  const std::unique_ptr<Table> table = MakeTable(spec);
  std::vector<std::unique_ptr<TestWriter>> silent;
  for (uint64_t id = 1; id <= 16; ++id) {
    silent.push_back(std::make_unique<TestWriter>(table.get(), id));
    silent.back()->Append(0, 18);
    ASSERT_TRUE(silent.back()->Insert().ok());
  }
  TestWriter writer(table.get(), 100);
  for (int i = 0; i < 200; ++i) {
    writer.Append(0, 3);
    const absl::Status inserted = writer.Insert().status();
    ASSERT_TRUE(inserted.ok()) << i << inserted;
    EXPECT_GT(table->State().items(), 150u) << i;
  }
  // One that goes on has lost the item that reaches back, and no other.
  const uint64_t before = table->State().inserted_items();
  silent.front()->Append(0, 3);
  ASSERT_TRUE(silent.front()->Insert().ok());
  EXPECT_EQ(table->State().inserted_items(), before + 2);
  EXPECT_EQ(table->State().lost_items(), 1u);
}

TEST(TableTest, AWriterThatComesBackAfterItsRowsMadeRoomGoesOnBehindAGap) {
  v1::TableSpec spec = TestSpec();
  spec.set_max_bytes(20'000);
  const std::unique_ptr<Table> table = MakeTable(spec);
  TestWriter early(table.get(), 1);
  early.Append(0, 3);
  ASSERT_TRUE(early.Insert().ok());
  table->CloseWriter(1, early.opened().session);
  TestWriter other(table.get(), 2);
  for (int i = 0; i < 200; ++i) {
    other.Append(0, 8);
    ASSERT_TRUE(other.Insert().ok());
  }
  EXPECT_EQ(table->TakeSnapshot().writers.size(), 2u);
  for (const v1::WriterCheckpoint& saved : table->TakeSnapshot().writers) {
    EXPECT_EQ(saved.lanes_size(), saved.writer() == 1 ? 0 : 1) << "what is forgotten takes no memory";
  }
  const Table::OpenedWriter opened = table->OpenWriter(1, 2);
  ChunkBuilder builder(table->layout(), {});
  for (uint64_t row = 0; row < 5; ++row) {
    if (row == 3) builder.Build(1);  // what was written before
    builder.Append(0, TestRow(0, row).columns(), v1::NOT_ENDED);
  }
  // The transition from row 2 to row 3 is lost, that from row 3 to row 4 is not.
  const uint64_t before = table->State().inserted_items();
  EXPECT_TRUE(InsertInto(*table, 1, opened.session, builder.Build(2)).ok());
  EXPECT_EQ(table->State().inserted_items(), before + 1);
  EXPECT_EQ(table->State().lost_items(), 1u);
  EXPECT_EQ(table->State().lost_chunks(), 0u);
}

TEST(TableTest, SamplesWaitForMinItems) {
  v1::TableSpec spec = TestSpec();
  spec.set_min_items(3);
  const std::unique_ptr<Table> table = MakeTable(spec);
  TestWriter writer(table.get(), 7);
  int woken = 0;
  EXPECT_TRUE(absl::IsUnavailable(SampleFrom(*table, 1, 1, [&] { ++woken; }).status()));
  writer.Append(0, 3);
  ASSERT_TRUE(writer.Insert().ok());
  EXPECT_EQ(woken, 1);
  EXPECT_TRUE(absl::IsUnavailable(SampleFrom(*table, 1, 1, [&] { ++woken; }).status()));
  writer.Append(0, 1);
  ASSERT_TRUE(writer.Insert().ok());
  EXPECT_EQ(woken, 2);
  EXPECT_EQ(SampleFrom(*table, 5)->size(), 5u) << "more than there are, with replacement";
}

// A table of items with these priorities, in the order of their rows, in its first life.
std::unique_ptr<Table> MakePrioritizedTable(const std::vector<float>& priorities, v1::TableSpec spec = TestSpec()) {
  spec.set_sampler(v1::PROPORTIONAL);
  std::unique_ptr<Table> table = MakeTable(spec);
  TestWriter writer(table.get(), 1, {.rows = 1, .stride = 1});
  writer.Append(0, static_cast<uint32_t>(priorities.size()));
  EXPECT_TRUE(writer.Insert().ok());
  // Slots of a new table count up, and each has its first item.
  for (size_t slot = 0; slot < priorities.size(); ++slot) {
    const uint64_t key = (uint64_t{1} << 32) | slot;
    EXPECT_EQ(table->UpdatePriorities(1, {{key}}, {{priorities[slot]}})->updated, 1u);
  }
  return table;
}

TEST(TableTest, SamplesInProportionToPriorities) {
  const std::unique_ptr<Table> table = MakePrioritizedTable({0, 1, 3});
  EXPECT_EQ(table->State().mass(), 4);
  std::vector<int> counts(3);
  const Drawn drawn = *SampleFrom(*table, 40000);
  for (const auto& [lane, row] : drawn) ++counts[row];
  EXPECT_EQ(counts[0], 0);
  EXPECT_NEAR(counts[1], 10000, 350);  // four standard deviations
  Table::Batch batch;
  ASSERT_TRUE(table->Sample({100, 1, 2}, batch, {table.get(), [] {}}).ok());
  for (const ItemStore::Drawn& item : batch.items()) {
    EXPECT_EQ(item.probability, static_cast<uint32_t>(item.key) == 1 ? 0.25 : 0.75);
  }
}

TEST(TableTest, SamplesWaitUntilAnItemHasPriority) {
  const std::unique_ptr<Table> table = MakePrioritizedTable({0, 0});
  int woken = 0;
  EXPECT_TRUE(absl::IsUnavailable(SampleFrom(*table, 1, 1, [&] { ++woken; }).status()));
  ASSERT_TRUE(table->UpdatePriorities(1, {{uint64_t{1} << 32}}, {{2.0f}}).ok());
  EXPECT_EQ(woken, 1);
  EXPECT_EQ((*SampleFrom(*table, 1))[0].second, 0u);
}

TEST(TableTest, AnItemWithoutPriorityIsNotDrawnThoughOthersAreUsedUp) {
  v1::TableSpec spec = TestSpec();
  spec.set_max_times_sampled(2);
  const std::unique_ptr<Table> table = MakeTable([&] {
    spec.set_sampler(v1::PROPORTIONAL);
    return spec;
  }());
  TestWriter writer(table.get(), 1, {.rows = 1, .stride = 1});
  writer.Append(0, 3);
  ASSERT_TRUE(writer.Insert().ok());
  ASSERT_EQ(table->UpdatePriorities(1, {{uint64_t{1} << 32}}, {{0.0f}})->updated, 1u);
  EXPECT_TRUE(absl::IsUnavailable(SampleFrom(*table, 3).status()));  // two can be drawn
  EXPECT_TRUE(SampleFrom(*table, 2).ok());
}

TEST(TableTest, PrioritiesOfItemsThatAreGoneAreCounted) {
  const std::unique_ptr<Table> table = MakePrioritizedTable({1, 1});
  const uint64_t here = uint64_t{1} << 32;
  const uint64_t gone = uint64_t{2} << 32;
  const absl::StatusOr<Table::PriorityUpdate> update = table->UpdatePriorities(1, {{here, gone}}, {{5.0f, 6.0f}});
  ASSERT_TRUE(update.ok()) << update.status();
  EXPECT_EQ(update->updated, 1u);
  EXPECT_EQ(update->unknown, 1u);
  EXPECT_EQ(table->UpdatePriorities(2, {{here}}, {{9.0f}})->unknown, 1u);  // of another life
  EXPECT_EQ(table->State().mass(), 6);
  EXPECT_EQ(table->State().priority_updates(), 3u);
  EXPECT_EQ(table->State().unknown_priority_keys(), 2u);
}

TEST(TableTest, RefusesWhatIsNoPriorityAndSetsNothing) {
  const std::unique_ptr<Table> table = MakePrioritizedTable({1, 1});
  const uint64_t key = uint64_t{1} << 32;
  for (const float wrong : {-1.0f, NAN, INFINITY}) {
    const absl::Status status = table->UpdatePriorities(1, {{key, key + 1}}, {{5.0f, wrong}}).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status));
    EXPECT_THAT(status.message(), HasSubstr("expected finite priorities of 0 or more, got"));
  }
  EXPECT_THAT(table->UpdatePriorities(1, {{key, key + 1}}, {{5.0f}}).status().message(),
              HasSubstr("expected a priority for each of 2 keys, got 1"));
  EXPECT_EQ(table->State().mass(), 2);
}

TEST(TableTest, NewItemsHaveTheHighestPriorityThatAnyHasHad) {
  const std::unique_ptr<Table> table = MakePrioritizedTable({7, 2});
  ASSERT_TRUE(table->UpdatePriorities(1, {{uint64_t{1} << 32}}, {{1.0f}}).ok());
  TestWriter writer(table.get(), 2, {.rows = 1, .stride = 1});
  writer.Append(0, 1);
  ASSERT_TRUE(writer.Insert().ok());
  EXPECT_EQ(table->State().mass(), 1 + 2 + 7);
}

TEST(TableTest, InsertionWaitsAtItsLimitAndGoesOnWithTheNextGrant) {
  v1::TableSpec spec = TestSpec();
  spec.set_initial_insert_limit(3);
  const std::unique_ptr<Table> table = MakeTable(spec);
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
TEST(TableTest, AGrantWakesAsManyWritersAsItAdmitsInTheirOrder) {
  v1::TableSpec spec = TestSpec();
  spec.set_initial_insert_limit(0);
  const std::unique_ptr<Table> table = MakeTable(spec);
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

TEST(TableTest, AWaitingWriterThatGoesIsForgotten) {
  v1::TableSpec spec = TestSpec();
  spec.set_initial_insert_limit(0);
  const std::unique_ptr<Table> table = MakeTable(spec);
  TestWriter writer(table.get(), 7);
  writer.Append(0, 1);
  int woken = 0;
  EXPECT_EQ(*writer.Insert([&] { ++woken; }), Outcome::kWait);
  table->StopWaiting(&writer);
  EXPECT_EQ(table->State().blocked_writers(), 0u);
  table->SetInsertLimit(10, 0);
  EXPECT_EQ(woken, 0);
}

TEST(TableTest, AWatchIsOnlyEverTheOwnersNewest) {
  const std::unique_ptr<Table> table = MakeTable(TestSpec());
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
TEST(TableTest, StepsAreToldWhenTheJournalHasThem) {
  v1::TableSpec spec = TestSpec();
  spec.set_initial_insert_limit(2);
  const std::unique_ptr<Table> table = MakeTable(spec);
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

TEST(TableTest, InLockstepAcknowledgementsWaitForFurtherSteps) {
  v1::TableSpec spec = TestSpec();
  spec.set_initial_insert_limit(2);
  spec.set_lockstep(true);
  const std::unique_ptr<Table> table = MakeTable(spec);
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

TEST(TableTest, ARequestForRowsThatItemsLackTakesNone) {
  v1::TableSpec spec = TestSpec();
  spec.set_sampler(v1::FIRST_IN_FIRST_OUT);
  spec.set_max_times_sampled(1);
  const std::unique_ptr<Table> table = MakeTable(spec);
  TestWriter writer(table.get(), 7, {.rows = 4, .stride = 4, .least_rows = 2});
  writer.Append(0, 7, v1::TERMINATED);  // an item of 4 rows, and one of 3
  ASSERT_TRUE(writer.Insert().ok());
  ASSERT_EQ(table->State().items(), 2u);
  Table::Batch batch;
  const absl::Status refused = table->Sample({2, 4}, batch, {table.get(), [] {}}).status();
  EXPECT_THAT(refused.message(), HasSubstr("expected slices within items of 3 rows, got row 3"));
  EXPECT_EQ(table->State().items(), 2u);
  EXPECT_EQ(table->State().sampled_items(), 0u);
  EXPECT_TRUE(table->Sample({2, 3}, batch, {table.get(), [] {}}).ok());
}

TEST(TableTest, AQueueGivesEachItemOnceAndInOrder) {
  v1::TableSpec spec = TestSpec();
  spec.set_sampler(v1::FIRST_IN_FIRST_OUT);
  spec.set_max_times_sampled(1);
  const std::unique_ptr<Table> table = MakeTable(spec);
  TestWriter writer(table.get(), 7);
  uint64_t next = 0;
  for (int i = 0; i < 50; ++i) {
    writer.Append(0, 7);
    ASSERT_TRUE(writer.Insert().ok());
    while (table->State().items() >= 4) {
      const absl::StatusOr<Drawn> drawn = SampleFrom(*table, 4, i);
      ASSERT_TRUE(drawn.ok());
      for (const auto& [lane, row] : *drawn) EXPECT_EQ(row, next++);
    }
  }
  EXPECT_GT(next, 340u);
  // A batch is given whole or not at all.
  const uint64_t left = table->State().items();
  EXPECT_TRUE(absl::IsUnavailable(SampleFrom(*table, static_cast<uint32_t>(left) + 1).status()));
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

TEST(TableTest, InsertionWaitsWhileAQueueIsFullAndNothingIsRemoved) {
  const std::unique_ptr<Table> table = MakeTable(QueueSpec(4));
  TestWriter writer(table.get(), 7);
  EXPECT_EQ(table->StepsToLimit(), 4u);
  writer.Append(0, 7);  // 6 items: the last chunk may exceed the queue
  ASSERT_EQ(*writer.Insert(), Outcome::kDone);
  EXPECT_EQ(table->StepsToLimit(), 0u);
  int woken = 0;
  writer.Append(0, 1);
  ASSERT_EQ(*writer.Insert([&] { ++woken; }), Outcome::kWait);
  EXPECT_EQ(table->State().blocked_writers(), 1u);
  ASSERT_TRUE(SampleFrom(*table, 2).ok());
  EXPECT_EQ(woken, 0);  // 4 items are still there
  const absl::StatusOr<Drawn> drawn = SampleFrom(*table, 1);
  ASSERT_TRUE(drawn.ok());
  EXPECT_EQ(*drawn, Drawn({{0, 2}}));
  EXPECT_EQ(woken, 1);
  ASSERT_EQ(*writer.InsertAgain(), Outcome::kDone);
  EXPECT_EQ(table->State().items(), 4u);
  EXPECT_EQ(table->State().removed_items(), 3u);  // those that were sampled
}

TEST(TableTest, ItemsThatComeWithoutAStepWakeThoseWhoCountSteps) {
  const std::unique_ptr<Table> table = MakeTable(QueueSpec(4));
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

TEST(TableTest, AQueueRefusesAChunkOfMoreItemsThanItCouldEverHold) {
  const std::unique_ptr<Table> table = MakeTable(QueueSpec(4));
  TestWriter writer(table.get(), 7);
  writer.Append(0, 2000);
  const absl::Status status = writer.Insert().status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("a chunk of 1999 items does not fit into the queue \"t\" of 4"));
}

TEST(TableTest, ItemsOfAQueueSpanEpisodesAndChunks) {
  const std::unique_ptr<Table> table = MakeTable(QueueSpec(100));
  TestWriter writer(table.get(), 7, {.rows = 2, .stride = 1, .span_episodes = true});
  writer.Append(0, 2, v1::TERMINATED);
  ASSERT_EQ(*writer.Insert(), Outcome::kDone);
  writer.Append(0, 2);
  ASSERT_EQ(*writer.Insert(), Outcome::kDone);
  const absl::StatusOr<Drawn> drawn = SampleFrom(*table, 3);
  ASSERT_TRUE(drawn.ok()) << drawn.status();
  EXPECT_EQ(*drawn, Drawn({{0, 0}, {0, 1}, {0, 2}}));
}

TEST(TableTest, DropsRepeatedChunksAndRefusesMissingOnes) {
  const std::unique_ptr<Table> table = MakeTable(TestSpec());
  const Table::OpenedWriter opened = table->OpenWriter(7, 1);
  ChunkBuilder builder(table->layout(), {});
  const TestRow row(0, 0);
  builder.Append(0, row.columns(), v1::NOT_ENDED);
  const grpc::Slice first = builder.Build(1);
  EXPECT_TRUE(InsertInto(*table, 7, opened.session, first).ok());
  EXPECT_TRUE(InsertInto(*table, 7, opened.session, first).ok());
  EXPECT_EQ(table->State().inserted_steps(), 1u);
  builder.Append(0, row.columns(), v1::NOT_ENDED);
  const absl::Status status = InsertInto(*table, 7, opened.session, builder.Build(3)).status();
  EXPECT_THAT(status.message(), HasSubstr("expected chunk 2 next, got 3"));
  EXPECT_EQ(table->OpenWriter(7, 1).last_sequence, 1u);
}

TEST(TableTest, ANewerStreamOfAWriterTakesOver) {
  const std::unique_ptr<Table> table = MakeTable(TestSpec());
  TestWriter older(table.get(), 7);
  older.Append(0, 2);
  ASSERT_TRUE(older.Insert().ok());
  const Table::OpenedWriter newer = table->OpenWriter(7, 1);
  EXPECT_EQ(newer.last_sequence, 1u);
  older.Append(0, 1);
  EXPECT_TRUE(absl::IsAborted(older.Insert().status()));
  table->CloseWriter(7, older.opened().session);
  EXPECT_EQ(table->State().writers(), 1u) << "an older stream's end is not the writer's";
  table->CloseWriter(7, newer.session);
  EXPECT_EQ(table->State().writers(), 0u);
}

TEST(TableTest, CountsChunksThatTheWriterNoLongerHas) {
  const std::unique_ptr<Table> table = MakeTable(TestSpec());
  TestWriter writer(table.get(), 7);
  writer.Append(0, 3);
  ASSERT_TRUE(writer.Insert().ok());
  // Chunks 2 to 4 were acknowledged by a life of this shard that was not saved.
  EXPECT_EQ(table->OpenWriter(7, 5).last_sequence, 4u);
  EXPECT_EQ(table->State().lost_chunks(), 3u);
  TestWriter other(table.get(), 8);
  EXPECT_EQ(table->State().lost_chunks(), 3u);
  ASSERT_EQ(table->Writers().size(), 2u);
}

TEST(TableTest, RemembersWhatAWriterCommittedWhileManyOthersCome) {
  const std::unique_ptr<Table> table = MakeTable(TestSpec());
  for (uint64_t id = 1; id <= 300; ++id) {
    TestWriter writer(table.get(), id);
    writer.Append(0, 2);
    ASSERT_TRUE(writer.Insert().ok());
    table->CloseWriter(id, writer.opened().session);
  }
  const Table::OpenedWriter opened = table->OpenWriter(1, 2);
  EXPECT_EQ(opened.last_sequence, 1u);
  EXPECT_EQ(table->State().lost_chunks(), 0u);
  // Its lane, too: an item that reaches back finds its rows.
  ChunkBuilder builder(table->layout(), {});
  for (uint64_t row = 0; row < 3; ++row) {
    if (row == 2) builder.Build(1);  // what was written before
    builder.Append(0, TestRow(0, row).columns(), v1::NOT_ENDED);
  }
  EXPECT_TRUE(InsertInto(*table, 1, opened.session, builder.Build(2)).ok());
  EXPECT_EQ(table->State().lost_items(), 0u);
}

TEST(TableTest, TheStateTellsHowOldTheOldestItemIs) {
  v1::TableSpec spec = TestSpec();
  spec.set_max_items(5);
  const std::unique_ptr<Table> table = MakeTable(spec);
  EXPECT_EQ(table->State().oldest_seconds(), 0);
  TestWriter writer(table.get(), 7);
  const size_t slab = table->rows().rows_per_slab();
  uint64_t rows = 0;
  for (; rows < 3 * slab; rows += 10) {
    writer.Append(0, 10);
    ASSERT_TRUE(writer.Insert().ok());
  }
  const v1::TableState state = table->State();
  EXPECT_GT(state.oldest_seconds(), 0);
  EXPECT_GE(state.oldest_rows(), 5u);
  EXPECT_LE(state.oldest_rows(), 6 + 10 + slab) << "no older than its slab";
}

// The table is full: room for the chunk would be made by removing items.
TEST(TableTest, ABadChunkChangesNothing) {
  v1::TableSpec spec = TestSpec();
  spec.set_max_bytes(20'000);
  const std::unique_ptr<Table> table = MakeTable(spec);
  TestWriter writer(table.get(), 7);
  while (table->State().removed_items() == 0) {
    writer.Append(0, 10);
    ASSERT_TRUE(writer.Insert().ok());
  }
  const auto state = [&] {
    v1::TableState state = table->State();
    state.clear_oldest_seconds();
    return state.ShortDebugString();
  };
  const std::string before = state();
  ChunkBuilder builder(table->layout(), {});
  for (uint64_t i = 0; i < 300; ++i) {
    TestRow row(3, i);
    if (i == 299) row.reward = std::numeric_limits<double>::infinity();
    builder.Append(3, row.columns(), v1::NOT_ENDED);
  }
  const uint64_t next = writer.next_sequence();
  EXPECT_TRUE(absl::IsInvalidArgument(InsertInto(*table, 7, writer.opened().session, builder.Build(next)).status()));
  EXPECT_EQ(state(), before);
  // The same number again, with a good one.
  ChunkBuilder good_builder(table->layout(), {});
  const TestRow good(3, 0);
  good_builder.Append(3, good.columns(), v1::NOT_ENDED);
  EXPECT_TRUE(InsertInto(*table, 7, writer.opened().session, good_builder.Build(next)).ok());
}

// The memory of what is sampled, or snapshot, is not reused before that is over.
TEST(TableTest, InsertionWaitsForReadsThatHoldMemoryBack) {
  v1::TableSpec spec = TestSpec();
  spec.set_max_bytes(20'000);
  const std::unique_ptr<Table> table = MakeTable(spec);
  TestWriter writer(table.get(), 7);
  int woken = 0;
  const auto insert_until_it_waits = [&] {
    Outcome outcome = Outcome::kDone;
    for (int i = 0; outcome == Outcome::kDone; ++i) {
      ASSERT_LT(i, 1000);
      writer.Append(0, 10);
      outcome = *writer.Insert([&] { ++woken; });
    }
    EXPECT_EQ(woken, 0);
  };
  writer.Append(0, 10);
  ASSERT_EQ(*writer.Insert(), Outcome::kDone);
  {
    Table::Batch batch;
    ASSERT_EQ(*table->Sample({.batch_size = 1}, batch, {&batch, [] {}}), Outcome::kDone);
    insert_until_it_waits();
  }
  EXPECT_EQ(std::exchange(woken, 0), 1);
  ASSERT_EQ(*writer.InsertAgain(), Outcome::kDone);
  {
    const Table::Snapshot snapshot = table->TakeSnapshot();
    insert_until_it_waits();
  }
  EXPECT_EQ(woken, 1);
}

// A checkpoint lets go of what it has written, the oldest rows first.
TEST(TableTest, InsertionGoesOnWhileASnapshotIsWritten) {
  v1::TableSpec spec = TestSpec();
  spec.set_max_bytes(20'000);
  const std::unique_ptr<Table> table = MakeTable(spec);
  TestWriter writer(table.get(), 7);
  const auto insert = [&] {
    writer.Append(0, 10);
    return *writer.Insert();
  };
  for (int i = 0; i < 200; ++i) ASSERT_EQ(insert(), Outcome::kDone) << "it is full in the end";
  Table::Snapshot snapshot = table->TakeSnapshot();
  while (insert() == Outcome::kDone) {
  }
  const size_t slabs = snapshot.pins.slabs().size();
  ASSERT_GT(slabs, 10u);
  for (size_t i = 0; i < slabs; ++i) {
    snapshot.pins.LetGo(1);
    ASSERT_EQ(*writer.InsertAgain(), Outcome::kDone) << "after slab " << i;
    Outcome outcome = Outcome::kDone;
    for (int chunk = 0; outcome == Outcome::kDone; ++chunk) {
      outcome = insert();
      if (chunk == 1000) {
        EXPECT_GE(i + 3, slabs) << "nothing of the snapshot is left that could hold it back";
        return;
      }
    }
  }
}

// Every snapshot must be of one moment, while writers insert and samplers remove.
TEST(TableTest, SnapshotsAreConsistentUnderLoad) {
  v1::TableSpec spec = TestSpec();
  spec.set_max_bytes(100'000);
  const std::unique_ptr<Table> table = MakeTable(spec);
  std::atomic<bool> stop = false;
  std::vector<std::thread> threads;
  for (uint64_t id = 1; id <= 2; ++id) {
    threads.emplace_back([&, id] {
      std::optional<TestWriter> writer(std::in_place, table.get(), id);
      for (int i = 0; !stop; ++i) {
        writer->Append(static_cast<uint32_t>(id), 20, i % 3 == 0 ? v1::TERMINATED : v1::NOT_ENDED);
        // A chunk that must wait is dropped, and the writer with it.
        if (const auto outcome = writer->Insert(); !outcome.ok() || *outcome != Outcome::kDone) {
          writer.emplace(table.get(), id + static_cast<uint64_t>(i) * 2 + 2);
        }
      }
    });
  }
  threads.emplace_back([&] {
    for (uint64_t key = 0; !stop; ++key) {
      const absl::StatusOr<Drawn> drawn = SampleFrom(*table, 64, key);
      if (!drawn.ok()) continue;
      for (const auto& [lane, row] : *drawn) EXPECT_LE(lane, 2u);
    }
  });
  for (int i = 0; i < 200; ++i) {
    const Table::Snapshot snapshot = table->TakeSnapshot();
    ASSERT_EQ(snapshot.tables[0].items.size(), snapshot.tables[0].state.items());

    for (const Item& item : snapshot.tables[0].items) {
      std::array<float, 2> first;
      std::array<float, 2> second;
      const size_t offset = table->layout().columns()[0].offset;
      std::memcpy(&first, table->rows().Row(item.first_row) + offset, sizeof(first));
      std::memcpy(&second, table->rows().Row(table->rows().Next(item.first_row)) + offset, sizeof(second));
      ASSERT_EQ(second[0], first[0]);
      ASSERT_EQ(second[1], first[1] + 1);
    }
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace headrace
