// Tables over the same rows: each step is stored once, and each table goes its own way with it.
#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <set>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "replay/table.h"
#include "replay/testing.h"

namespace headrace {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Outcome = Table::Outcome;

v1::TableSpec QueueOver(const std::string& name, uint64_t items) {
  v1::TableSpec spec = SpecOver(name);
  spec.set_sampler(v1::FIRST_IN_FIRST_OUT);
  spec.set_queue(true);
  spec.set_max_items(items);
  spec.set_max_times_sampled(1);
  return spec;
}

// The rows at which items of one lane begin, as a batch has them. Every row of an item is looked at.
std::vector<uint64_t> SampleFrom(
    Table& table, uint32_t count, uint32_t rows = 2, uint64_t key = 1, Table::Callback retry = [] {}) {
  Table::Batch batch;
  const absl::StatusOr<Outcome> outcome =
      table.Sample({.batch_size = count, .rows_needed = rows, .random_key = key}, batch, {&table, std::move(retry)});
  EXPECT_TRUE(outcome.ok()) << outcome.status();
  if (!outcome.ok() || *outcome == Outcome::kWait) return {};
  std::vector<std::array<float, 2>> observations(batch.items().size() * rows);
  const std::vector<Slice> slices = {{.column = 0, .first_row = 0, .rows = rows}};
  const std::vector<std::byte*> blocks = {reinterpret_cast<std::byte*>(observations.data())};
  table.Gather(batch.items(), slices, blocks);
  std::vector<uint64_t> drawn;
  for (size_t i = 0; i < observations.size(); i += rows) {
    drawn.push_back(static_cast<uint64_t>(observations[i][1]));
    for (uint32_t row = 0; row < rows; ++row) {
      EXPECT_EQ(observations[i + row], TestRow(0, drawn.back() + row).observation);
    }
  }
  return drawn;
}

TEST(SharedRowsTest, RefusesATableThatDoesNotFitTheRows) {
  v1::TableSpec rows = TestSpec();
  rows.set_context_rows(1);
  const std::unique_ptr<Table> table = MakeTestTable(rows);
  const auto expect_refused = [&](const std::function<void(v1::TableSpec&)>& change, const std::string& why) {
    v1::TableSpec spec = SpecOver("o");
    change(spec);
    const absl::Status status = Table::Create(spec, 0, 1, table.get()).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << why;
    EXPECT_THAT(status.message(), HasSubstr(why));
  };
  expect_refused([](v1::TableSpec& spec) { spec.mutable_signature()->mutable_columns()->RemoveLast(); },
                 "table \"o\": over the rows of table \"t\": expected the columns {");
  expect_refused([](v1::TableSpec& spec) { spec.set_max_item_rows(5); }, "expected max_item_rows up to 4");
  expect_refused([](v1::TableSpec& spec) { spec.set_context_rows(2); }, "context_rows up to 1, got 4 and 2");
  expect_refused([](v1::TableSpec& spec) { spec.set_items_span_episodes(true); }, "the same items_span_episodes");
  expect_refused([](v1::TableSpec& spec) { spec.set_lockstep(true); }, "and lockstep");
  expect_refused([](v1::TableSpec& spec) { spec.set_max_bytes(31); }, "does not hold the books of an item");
  expect_refused([](v1::TableSpec& spec) { spec = QueueOver("o", 10'000); }, "does not hold twice a queue's 10000");
  expect_refused([](v1::TableSpec& spec) { spec.clear_remover(); }, "unknown selector 0");
  expect_refused([](v1::TableSpec& spec) { spec.set_remover(v1::MINIMUM_PRIORITY); },
                 "expected remover first_in_first_out, as that table has it, got minimum_priority");

  const std::unique_ptr<Table> over = MakeTestTable(SpecOver("o"), table.get());
  EXPECT_THAT(Table::Create(SpecOver("p"), 0, 1, over.get()).status().message(),
              HasSubstr("expected one with rows of its own, but that is over table \"t\""));
}

TEST(SharedRowsTest, ItemsThatGoForWantOfBytesForTheirBooksAreCounted) {
  const std::unique_ptr<Table> table = MakeTestTable(TestSpec());
  v1::TableSpec spec = SpecOver("few");
  spec.set_max_items(100);
  spec.set_max_bytes(10 * ItemStore::BookBytes(spec.sampler(), spec.remover()));
  const std::unique_ptr<Table> few = MakeTestTable(spec, table.get());
  TestWriter writer(table.get(), 7, {.rows = 2, .stride = 1}, 1, {{"few", {.rows = 2, .stride = 1}}});
  writer.Append(0, 16);  // 15 items
  ASSERT_TRUE(writer.Insert().ok());
  EXPECT_EQ(few->State().items(), 10u);
  EXPECT_EQ(few->BudgetRemovedItems(), 5u);
  EXPECT_EQ(table->BudgetRemovedItems(), 0u);
}

TEST(SharedRowsTest, AStepIsStoredOnceAndSampledFromBoth) {
  const std::unique_ptr<Table> table = MakeTestTable(TestSpec());
  v1::TableSpec spec = SpecOver("fifo");
  spec.set_sampler(v1::FIRST_IN_FIRST_OUT);
  spec.set_max_times_sampled(1);
  const std::unique_ptr<Table> fifo = MakeTestTable(spec, table.get());
  TestWriter writer(table.get(), 7, {.rows = 2, .stride = 1}, 1, {{"fifo", {.rows = 4, .stride = 3}}});
  writer.Append(0, 6);
  ASSERT_TRUE(writer.Insert().ok());
  writer.Append(0, 4);  // rows 6 to 9: an item of the other table begins in the chunk before
  ASSERT_TRUE(writer.Insert().ok());

  const v1::TableState state = table->State();
  const v1::TableState other = fifo->State();
  EXPECT_EQ(state.inserted_steps(), 10u);
  EXPECT_EQ(other.inserted_steps(), 10u);
  EXPECT_EQ(other.table(), "fifo");
  EXPECT_EQ(state.items(), 9u);
  EXPECT_EQ(other.items(), 3u);
  EXPECT_EQ(other.stored_bytes(), 3 * ItemStore::BookBytes(v1::FIRST_IN_FIRST_OUT, v1::FIRST_IN_FIRST_OUT));
  EXPECT_EQ(other.writers(), 1u);

  EXPECT_THAT(SampleFrom(*fifo, 3, 4), ElementsAre(0, 3, 6));
  const std::vector<uint64_t> drawn = SampleFrom(*table, 500);
  EXPECT_EQ(std::set<uint64_t>(drawn.begin(), drawn.end()).size(), 9u);
  EXPECT_EQ(table->State().sampled_items(), 500u);
  EXPECT_EQ(fifo->State().sampled_items(), 3u);
  EXPECT_EQ(fifo->State().sampled_steps(), 9u);
  EXPECT_EQ(fifo->State().items(), 0u);
  EXPECT_EQ(table->State().items(), 9u);
}

TEST(SharedRowsTest, ARowStaysAsLongAsOneOfThemHasIt) {
  v1::TableSpec few = TestSpec();
  few.set_max_items(3);
  const std::unique_ptr<Table> table = MakeTestTable(few);
  const std::unique_ptr<Table> many = MakeTestTable(SpecOver("many"), table.get());
  TestWriter writer(table.get(), 7, {}, 1, {{"many", {}}});
  for (int i = 0; i < 300; ++i) {
    writer.Append(0, 20);
    ASSERT_TRUE(writer.Insert().ok());
  }
  EXPECT_EQ(table->State().items(), 3u);
  EXPECT_EQ(many->State().items(), 5999u);
  const std::vector<uint64_t> drawn = SampleFrom(*many, 5000);
  EXPECT_LT(*std::min_element(drawn.begin(), drawn.end()), 50u);
  const std::vector<uint64_t> newest = SampleFrom(*table, 50);
  EXPECT_GE(*std::min_element(newest.begin(), newest.end()), 5996u);
}

TEST(SharedRowsTest, MemoryIsFreeWhenBothHaveLetGo) {
  v1::TableSpec few = TestSpec();
  few.set_max_items(3);
  const std::unique_ptr<Table> table = MakeTestTable(few);
  v1::TableSpec spec = SpecOver("once");
  spec.set_sampler(v1::FIRST_IN_FIRST_OUT);
  spec.set_max_times_sampled(1);
  const std::unique_ptr<Table> once = MakeTestTable(spec, table.get());
  TestWriter writer(table.get(), 7, {}, 1, {{"once", {}}});
  const auto rows_bytes = [&] {
    return table->State().stored_bytes() - table->State().items() * ItemStore::BookBytes(few.sampler(), few.remover());
  };
  writer.Append(0, 5);
  ASSERT_TRUE(writer.Insert().ok());
  const uint64_t one_slab = rows_bytes();
  for (int i = 0; i < 300; ++i) {
    writer.Append(0, 30);
    ASSERT_TRUE(writer.Insert().ok());
  }
  EXPECT_GE(rows_bytes(), 3 * one_slab);
  const auto left = static_cast<uint32_t>(once->State().items());
  ASSERT_EQ(left, 9004u);
  SampleFrom(*once, left);
  EXPECT_EQ(rows_bytes(), one_slab) << "what the other table and the lane have, at the end of the rows";
}

TEST(SharedRowsTest, InsertionWaitsForTheLimitOfEither) {
  v1::TableSpec spec = TestSpec();
  spec.set_initial_insert_limit(4);
  const std::unique_ptr<Table> table = MakeTestTable(spec);
  spec = SpecOver("o");
  spec.set_initial_insert_limit(2);
  const std::unique_ptr<Table> other = MakeTestTable(spec, table.get());
  EXPECT_EQ(table->StepsToLimit(), 2u);
  EXPECT_EQ(other->StepsToLimit(), 2u);
  TestWriter writer(table.get(), 7, {}, 1, {{"o", {}}});
  writer.Append(0, 3);  // the last chunk may exceed the limit
  ASSERT_EQ(*writer.Insert(), Outcome::kDone);
  int woken = 0;
  writer.Append(0, 1);
  ASSERT_EQ(*writer.Insert([&] { ++woken; }), Outcome::kWait);
  EXPECT_EQ(other->State().blocked_writers(), 1u);
  table->SetInsertLimit(100, 1);
  EXPECT_EQ(woken, 0);
  other->SetInsertLimit(4, 5);
  EXPECT_EQ(woken, 1);
  ASSERT_EQ(*writer.InsertAgain(), Outcome::kDone);
  EXPECT_EQ(table->policy_version(), 5u) << "the newest that one of them was told";
  // And the other way round.
  other->SetInsertLimit(100, 6);
  table->SetInsertLimit(4, 3);
  writer.Append(0, 1);
  ASSERT_EQ(*writer.Insert([&] { ++woken; }), Outcome::kWait);
  table->SetInsertLimit(5, 4);
  EXPECT_EQ(woken, 2);
  ASSERT_EQ(*writer.InsertAgain(), Outcome::kDone);
  EXPECT_EQ(table->policy_version(), 6u);
}

TEST(SharedRowsTest, InLockstepAnAcknowledgementWaitsForBoth) {
  v1::TableSpec spec = TestSpec();
  spec.set_lockstep(true);
  spec.set_initial_insert_limit(1);
  const std::unique_ptr<Table> table = MakeTestTable(spec);
  v1::TableSpec over = SpecOver("o");
  over.set_lockstep(true);
  over.set_initial_insert_limit(1);
  const std::unique_ptr<Table> other = MakeTestTable(over, table.get());
  TestWriter writer(table.get(), 7);
  writer.Append(0, 1);
  ASSERT_EQ(*writer.Insert(), Outcome::kDone);
  int woken = 0;
  ASSERT_EQ(table->Acknowledge({&woken, [&] { ++woken; }}), Outcome::kWait);
  other->SetInsertLimit(2, 1);
  EXPECT_EQ(woken, 0);
  table->SetInsertLimit(2, 1);
  EXPECT_EQ(woken, 1);
  EXPECT_EQ(table->Acknowledge({&woken, [] {}}), Outcome::kDone);
}

TEST(SharedRowsTest, AQueueOverOthersHoldsInsertionBackAndLosesNothing) {
  v1::TableSpec rows = TestSpec();
  rows.set_max_bytes(20'000);
  const std::unique_ptr<Table> table = MakeTestTable(rows);
  const std::unique_ptr<Table> many = MakeTestTable(SpecOver("many"), table.get());
  const std::unique_ptr<Table> queue = MakeTestTable(QueueOver("queue", 8), table.get());
  TestWriter writer(table.get(), 7, {}, 1, {{"many", {}}, {"queue", {}}});
  // All memory goes through both, while the queue's items are as they came.
  uint64_t next = 0;
  for (int i = 0; i < 300; ++i) {
    writer.Append(0, i == 0 ? 9 : 8);
    ASSERT_EQ(*writer.Insert(), Outcome::kDone);
    EXPECT_EQ(queue->State().items(), 8u);
    EXPECT_EQ(table->StepsToLimit(), 0u);
    for (const uint64_t row : SampleFrom(*queue, 8)) EXPECT_EQ(row, next++);
  }
  EXPECT_GT(table->State().removed_items(), 0u);
  EXPECT_GT(many->State().removed_items(), 0u);
  EXPECT_EQ(queue->State().removed_items(), queue->State().sampled_items());
  EXPECT_LE(table->State().stored_bytes(), rows.max_bytes());

  writer.Append(0, 8);
  ASSERT_EQ(*writer.Insert(), Outcome::kDone);
  int woken = 0;
  writer.Append(0, 1);
  ASSERT_EQ(*writer.Insert([&] { ++woken; }), Outcome::kWait);
  SampleFrom(*many, 8);
  EXPECT_EQ(woken, 0);
  SampleFrom(*queue, 1);
  EXPECT_EQ(woken, 1);
  ASSERT_EQ(*writer.InsertAgain(), Outcome::kDone);
}

TEST(SharedRowsTest, ItemsGoFromTheTableThatHasMost) {
  v1::TableSpec rows = TestSpec();
  rows.set_max_bytes(100'000);
  const std::unique_ptr<Table> table = MakeTestTable(rows);
  const std::unique_ptr<Table> few = MakeTestTable(SpecOver("few"), table.get());
  TestWriter writer(table.get(), 7, {}, 1, {{"few", {.rows = 2, .stride = 100}}});
  for (int i = 0; i < 1000; ++i) {
    writer.Append(0, 20);
    ASSERT_TRUE(writer.Insert().ok());
  }
  // Both are left with what lies in the rows that there is room for.
  const uint64_t held = table->State().items();
  EXPECT_GT(held, 1200u);
  EXPECT_GT(few->State().items(), held / 200);
  for (const uint64_t row : SampleFrom(*few, 1000)) EXPECT_GT(row + 4000, 20'000u);
}

TEST(SharedRowsTest, PrioritiesOfOneAreNothingToTheOther) {
  v1::TableSpec spec = TestSpec();
  spec.set_sampler(v1::PROPORTIONAL);
  const std::unique_ptr<Table> table = MakeTestTable(spec);
  spec = SpecOver("o");
  spec.set_sampler(v1::PROPORTIONAL);
  const std::unique_ptr<Table> other = MakeTestTable(spec, table.get());
  TestWriter writer(table.get(), 7, {}, 1, {{"o", {}}});
  writer.Append(0, 4);
  ASSERT_TRUE(writer.Insert().ok());
  const uint64_t first = uint64_t{1} << 32;
  ASSERT_EQ(table->UpdatePriorities(1, {{first}}, {{8.0f}})->updated, 1u);
  ASSERT_EQ(other->UpdatePriorities(1, {{first + 1, first + 2}}, {{0.0f, 0.0f}})->updated, 2u);
  EXPECT_EQ(table->State().mass(), 10);
  EXPECT_EQ(other->State().mass(), 1);
  EXPECT_EQ(table->State().max_priority(), 8);
  EXPECT_EQ(other->State().max_priority(), 1);
  EXPECT_THAT(SampleFrom(*other, 3), ElementsAre(0, 0, 0));
}

TEST(SharedRowsTest, WhoWaitsForItemsOfTheOtherTableIsWoken) {
  const std::unique_ptr<Table> table = MakeTestTable(TestSpec());
  const std::unique_ptr<Table> other = MakeTestTable(SpecOver("o"), table.get());
  int woken = 0;
  EXPECT_TRUE(SampleFrom(*other, 1, 2, 1, [&] { ++woken; }).empty());
  EXPECT_TRUE(SampleFrom(*table, 1, 2, 1, [&] { ++woken; }).empty());
  TestWriter writer(table.get(), 7, {}, 1, {{"o", {}}});
  writer.Append(0, 2);
  ASSERT_TRUE(writer.Insert().ok());
  EXPECT_EQ(woken, 2);
  EXPECT_THAT(SampleFrom(*other, 1), ElementsAre(0));
}

TEST(SharedRowsTest, EachTableHasItsOwnLongestItem) {
  const std::unique_ptr<Table> table = MakeTestTable(TestSpec());
  v1::TableSpec spec = SpecOver("o");
  spec.set_max_item_rows(2);
  const std::unique_ptr<Table> other = MakeTestTable(spec, table.get());
  TestWriter good(table.get(), 1, {.rows = 4}, 1, {{"o", {.rows = 2}}});
  good.Append(0, 4);
  ASSERT_TRUE(good.Insert().ok());
  TestWriter bad(table.get(), 2, {.rows = 4}, 1, {{"o", {.rows = 3}}});
  bad.Append(0, 4);
  const absl::Status status = bad.Insert().status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("expected 1 to 2 rows"));
  EXPECT_EQ(table->State().items(), 1u);
  EXPECT_EQ(other->State().items(), 3u);
}

TEST(SharedRowsTest, ItemsForATableThatIsNotThereChangeNothing) {
  const std::unique_ptr<Table> table = MakeTestTable(TestSpec());
  const std::unique_ptr<Table> other = MakeTestTable(SpecOver("o"), table.get());
  std::unique_ptr<Table> late;  // outlives the writer, which asks all tables whose turn it is when it goes
  TestWriter writer(table.get(), 1, {}, 1, {{"p", {}}});
  writer.Append(0, 4);
  const absl::Status status = writer.Insert().status();
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("items for table \"p\", expected those of t, o"));
  EXPECT_EQ(table->State().inserted_steps() + table->State().items(), 0u);
  // A learner creates it, and the writer tries again.
  late = MakeTestTable(SpecOver("p"), table.get());
  EXPECT_EQ(*writer.InsertAgain(), Outcome::kDone);
  EXPECT_EQ(late->State().items(), 3u);
  EXPECT_EQ(other->State().items(), 0u);
}

// Every snapshot must be of one moment in both, while writers insert and samplers remove.
TEST(SharedRowsTest, SnapshotsAreConsistentUnderLoad) {
  v1::TableSpec spec = TestSpec();
  spec.set_max_bytes(100'000);
  const std::unique_ptr<Table> table = MakeTestTable(spec);
  spec = SpecOver("o");
  spec.set_sampler(v1::PROPORTIONAL);
  spec.set_max_times_sampled(4);
  const std::unique_ptr<Table> other = MakeTestTable(spec, table.get());
  std::atomic<bool> stop = false;
  std::vector<std::thread> threads;
  for (uint64_t id = 1; id <= 2; ++id) {
    threads.emplace_back([&, id] {
      auto writer = std::make_unique<TestWriter>(table.get(), id, ItemPattern{}, 1,
                                                 std::vector<TablePattern>{{"o", {.rows = 4, .stride = 2}}});
      for (uint64_t i = 0; !stop; ++i) {
        writer->Append(0, 20, i % 3 == 0 ? v1::TERMINATED : v1::NOT_ENDED);
        // A chunk that must wait is dropped, and the writer with it.
        if (const auto outcome = writer->Insert(); !outcome.ok() || *outcome != Outcome::kDone) {
          writer = std::make_unique<TestWriter>(table.get(), id + i * 2 + 2, ItemPattern{}, 1,
                                                std::vector<TablePattern>{{"o", {.rows = 4, .stride = 2}}});
        }
      }
    });
  }
  for (Table* const sampled : {table.get(), other.get()}) {
    threads.emplace_back([&, sampled] {
      for (uint64_t key = 0; !stop; ++key) SampleFrom(*sampled, 32, sampled == other.get() ? 4 : 2, key);
    });
  }
  for (int i = 0; i < 50; ++i) {
    const Table::Snapshot snapshot = table->TakeSnapshot();
    ASSERT_EQ(snapshot.tables.size(), 2u);
    EXPECT_EQ(snapshot.tables[0].state.inserted_steps(), snapshot.tables[1].state.inserted_steps());
    for (const Table::Books& books : snapshot.tables) {
      ASSERT_EQ(books.items.size(), books.state.items());
      for (const Item& item : books.items) {
        RowStore::Address row = item.first_row;
        float first = 0;
        for (uint32_t k = 0; k < item.rows; ++k, row = table->rows().Next(row)) {
          std::array<float, 2> observation;
          std::memcpy(&observation, table->rows().Row(row) + table->layout().columns()[0].offset, sizeof(observation));
          if (k == 0) first = observation[1];
          ASSERT_EQ(observation[1], first + static_cast<float>(k));
          if (k + 1 == item.rows) break;
        }
      }
    }
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace headrace
