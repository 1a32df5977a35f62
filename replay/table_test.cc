#include "replay/table.h"

#include <atomic>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "replay/testing.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;
using Outcome = Table::Outcome;

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
  const std::unique_ptr<Table> table = MakeTestTable(TestSpec());
  TestWriter writer(table.get(), 7);
  writer.Append(0, 3, v1::TERMINATED);  // rows 0 to 2: 2 transitions
  writer.Append(1, 2);                  // rows 0 and 1: 1 transition
  ASSERT_TRUE(writer.Insert().ok());
  writer.Append(1, 1);  // row 2: a transition that begins in the chunk before
  ASSERT_TRUE(writer.Insert().ok());
  const v1::TableState state = table->State();
  EXPECT_EQ(state.items(), 4u);
  EXPECT_EQ(state.inserted_steps(), 2u + 3u);
  const absl::StatusOr<FirstRows> drawn = SampleFirstRows(*table, 1000);
  ASSERT_TRUE(drawn.ok());
  const std::set<std::pair<uint32_t, uint64_t>> distinct(drawn->begin(), drawn->end());
  EXPECT_THAT(distinct,
              testing::ElementsAre(testing::Pair(0, 0), testing::Pair(0, 1), testing::Pair(1, 0), testing::Pair(1, 1)));
  EXPECT_EQ(table->State().sampled_items(), 1000u);
  EXPECT_EQ(table->State().sampled_steps(), 1000u) << "a transition is one step";
}

TEST(TableTest, TheSameKeyDrawsTheSameItems) {
  const std::unique_ptr<Table> table = MakeTestTable(TestSpec());
  TestWriter writer(table.get(), 7);
  writer.Append(0, 500);
  ASSERT_TRUE(writer.Insert().ok());
  EXPECT_EQ(*SampleFirstRows(*table, 50, 3), *SampleFirstRows(*table, 50, 3));
  EXPECT_NE(*SampleFirstRows(*table, 50, 3), *SampleFirstRows(*table, 50, 4));
}

TEST(TableTest, SamplesWaitForMinItems) {
  v1::TableSpec spec = TestSpec();
  spec.set_min_items(3);
  const std::unique_ptr<Table> table = MakeTestTable(spec);
  TestWriter writer(table.get(), 7);
  int woken = 0;
  EXPECT_TRUE(absl::IsUnavailable(SampleFirstRows(*table, 1, 1, [&] { ++woken; }).status()));
  writer.Append(0, 3);
  ASSERT_TRUE(writer.Insert().ok());
  EXPECT_EQ(woken, 1);
  EXPECT_TRUE(absl::IsUnavailable(SampleFirstRows(*table, 1, 1, [&] { ++woken; }).status()));
  writer.Append(0, 1);
  ASSERT_TRUE(writer.Insert().ok());
  EXPECT_EQ(woken, 2);
  EXPECT_EQ(SampleFirstRows(*table, 5)->size(), 5u) << "more than there are, with replacement";
}

// A table of items with these priorities, in the order of their rows, in its first life.
std::unique_ptr<Table> MakePrioritizedTable(const std::vector<float>& priorities, v1::TableSpec spec = TestSpec()) {
  spec.set_sampler(v1::PROPORTIONAL);
  std::unique_ptr<Table> table = MakeTestTable(spec);
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
  const FirstRows drawn = *SampleFirstRows(*table, 40000);
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
  EXPECT_TRUE(absl::IsUnavailable(SampleFirstRows(*table, 1, 1, [&] { ++woken; }).status()));
  ASSERT_TRUE(table->UpdatePriorities(1, {{uint64_t{1} << 32}}, {{2.0f}}).ok());
  EXPECT_EQ(woken, 1);
  EXPECT_EQ((*SampleFirstRows(*table, 1))[0].second, 0u);
}

TEST(TableTest, AnItemWithoutPriorityIsNotDrawnThoughOthersAreUsedUp) {
  v1::TableSpec spec = TestSpec();
  spec.set_max_times_sampled(2);
  const std::unique_ptr<Table> table = MakeTestTable([&] {
    spec.set_sampler(v1::PROPORTIONAL);
    return spec;
  }());
  TestWriter writer(table.get(), 1, {.rows = 1, .stride = 1});
  writer.Append(0, 3);
  ASSERT_TRUE(writer.Insert().ok());
  ASSERT_EQ(table->UpdatePriorities(1, {{uint64_t{1} << 32}}, {{0.0f}})->updated, 1u);
  EXPECT_TRUE(absl::IsUnavailable(SampleFirstRows(*table, 3).status()));  // two can be drawn
  EXPECT_TRUE(SampleFirstRows(*table, 2).ok());
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

TEST(TableTest, ARequestForRowsThatItemsLackTakesNone) {
  v1::TableSpec spec = TestSpec();
  spec.set_sampler(v1::FIRST_IN_FIRST_OUT);
  spec.set_max_times_sampled(1);
  const std::unique_ptr<Table> table = MakeTestTable(spec);
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

TEST(TableTest, DropsRepeatedChunksAndRefusesMissingOnes) {
  const std::unique_ptr<Table> table = MakeTestTable(TestSpec());
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
  const std::unique_ptr<Table> table = MakeTestTable(TestSpec());
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
  const std::unique_ptr<Table> table = MakeTestTable(TestSpec());
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
  const std::unique_ptr<Table> table = MakeTestTable(TestSpec());
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
  const std::unique_ptr<Table> table = MakeTestTable(spec);
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
  const std::unique_ptr<Table> table = MakeTestTable(spec);
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

// Every snapshot must be of one moment, while writers insert and samplers remove.
TEST(TableTest, SnapshotsAreConsistentUnderLoad) {
  v1::TableSpec spec = TestSpec();
  spec.set_max_bytes(100'000);
  const std::unique_ptr<Table> table = MakeTestTable(spec);
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
      const absl::StatusOr<FirstRows> drawn = SampleFirstRows(*table, 64, key);
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
