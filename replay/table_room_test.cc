#include <algorithm>
#include <cstring>
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

// A writer whose last rows keep a slab, of about as many rows as it writes, for items that may never come.
void ComeAndGo(Table& table, uint64_t id) {
  TestWriter writer(&table, id);
  writer.Append(0, 18);
  ASSERT_TRUE(writer.Insert().ok());
  table.CloseWriter(id, writer.opened().session);
}

TEST(TableRoomTest, StaysWithinItsBudgetAndKeepsTheNewest) {
  v1::TableSpec spec = TestSpec();
  spec.set_max_bytes(100'000);
  const std::unique_ptr<Table> table = MakeTestTable(spec);
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
  const absl::StatusOr<FirstRows> drawn = SampleFirstRows(*table, 5000);
  for (const auto& [lane, row] : *drawn) EXPECT_GT(row + 1600, rows);
}

TEST(TableRoomTest, RemovesTheOldestBeyondMaxItems) {
  v1::TableSpec spec = TestSpec();
  spec.set_max_items(10);
  spec.set_sampler(v1::FIRST_IN_FIRST_OUT);
  const std::unique_ptr<Table> table = MakeTestTable(spec);
  TestWriter writer(table.get(), 7);
  writer.Append(0, 31);  // 30 transitions
  ASSERT_TRUE(writer.Insert().ok());
  EXPECT_EQ(table->State().items(), 10u);
  EXPECT_EQ(table->State().removed_items(), 20u);
  EXPECT_EQ(table->BudgetRemovedItems(), 0u) << "there was place in memory for all";
  EXPECT_THAT(*SampleFirstRows(*table, 1), testing::ElementsAre(testing::Pair(0, 20)));
}

// Rows become free here and there. In larger slabs an item that stays would keep all rows that came with it, and to
// empty one nearly all items would have to go.
TEST(TableRoomTest, WhereItemsDoNotGoInTheirOrderAlmostAllFitStill) {
  for (const v1::Selector remover :
       {v1::UNIFORM, v1::PROPORTIONAL, v1::MINIMUM_PRIORITY, v1::MAXIMUM_PRIORITY, v1::LAST_IN_FIRST_OUT}) {
    SCOPED_TRACE(v1::Selector_Name(remover));
    v1::TableSpec spec = TestSpec();
    spec.set_remover(remover);
    spec.set_max_bytes(1 << 20);
    const std::unique_ptr<Table> table = MakeTestTable(spec);
    TestWriter writer(table.get(), 7);
    size_t least = table->item_capacity();
    for (uint32_t i = 0; i < 1000; ++i) {
      writer.SetPriority(static_cast<float>(i * 37 % 101));
      writer.Append(0, 50, i % 5 == 0 ? v1::TRUNCATED : v1::NOT_ENDED);
      ASSERT_TRUE(writer.Insert().ok());
      ASSERT_LE(table->State().stored_bytes(), spec.max_bytes());
      if (i > 500) least = std::min<size_t>(least, table->State().items());
    }
    // A row takes 28 bytes and 96, an item up to 50: 6000 of both, of which a sixteenth is spared. Where two items in a
    // row do not go together, the row between them stays for one.
    EXPECT_GT(least, 3000u);
  }
}

// Acknowledged items must not depend on how many others have a priority of 0.
TEST(TableRoomTest, WhereNoItemHasAPriorityTheOldestGo) {
  v1::TableSpec spec = TestSpec();
  spec.set_remover(v1::PROPORTIONAL);
  spec.set_max_items(10);
  const std::unique_ptr<Table> table = MakeTestTable(spec);
  TestWriter writer(table.get(), 7);
  writer.SetPriority(0);
  writer.Append(0, 31);  // 30 transitions
  ASSERT_TRUE(writer.Insert().ok());
  EXPECT_EQ(table->State().items(), 10u);
  const int column = table->layout().Find("observation");
  const Table::Snapshot snapshot = table->TakeSnapshot();
  EXPECT_EQ(snapshot.tables[0].items.size(), 10u);
  for (const Item& item : snapshot.tables[0].items) {
    float row;
    std::memcpy(&row, table->rows().Row(item.first_row) + table->layout().columns()[column].offset + sizeof(row),
                sizeof(row));
    EXPECT_GE(row, 20);
  }
}

// An alert once waited for 98% of the budget, which no table of this size ever uses: it keeps slabs for reads.
TEST(TableRoomTest, CountsItemsThatGoForWantOfBytes) {
  v1::TableSpec spec = TestSpec();
  spec.set_max_items(100'000);  // of 32 bytes, and rows of 28: 17,476 of both would take 1 MiB
  const std::unique_ptr<Table> table = MakeTestTable(spec);
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

TEST(TableRoomTest, RefusesAChunkThatCanNeverFit) {
  v1::TableSpec spec = TestSpec();
  spec.set_max_bytes(2000);
  const std::unique_ptr<Table> table = MakeTestTable(spec);
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
TEST(TableRoomTest, WritersThatAreGoneGiveWay) {
  v1::TableSpec spec = TestSpec();
  spec.set_max_bytes(20'000);
  const std::unique_ptr<Table> table = MakeTestTable(spec);
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
TEST(TableRoomTest, ItemsAreNotRemovedForTheSakeOfWritersThatAreGone) {
  v1::TableSpec spec = TestSpec();
  spec.set_max_bytes(20'000);  // 16 slabs of about 18 rows
  const std::unique_ptr<Table> table = MakeTestTable(spec);
  for (uint64_t id = 1; id <= 16; ++id) ComeAndGo(*table, id);
  TestWriter writer(table.get(), 100);
  for (int i = 0; i < 200; ++i) {
    writer.Append(0, 3);
    ASSERT_TRUE(writer.Insert().ok());
    EXPECT_GT(table->State().items(), 150u) << i;
  }
}

// Each of the writers keeps the last of its rows, in a slab of its own, for an item that may never come.
TEST(TableRoomTest, ItemsAreNotRemovedForTheSakeOfWritersThatSayNothing) {
  v1::TableSpec spec = TestSpec();
  spec.set_max_bytes(20'000);  // 16 slabs of about 18 rows
  const std::unique_ptr<Table> table = MakeTestTable(spec);
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

// In some slabs there are twice as many items as in others, so that the first items that are removed do not always free
// one.
TEST(TableRoomTest, AWriterThatIsSilentForLessThanTheTableTakesLosesNothing) {
  v1::TableSpec spec = TestSpec();
  spec.set_max_bytes(20'000);  // 18 slabs of 16 rows
  const std::unique_ptr<Table> table = MakeTestTable(spec);
  TestWriter silent(table.get(), 1), busy(table.get(), 2);
  for (int i = 0; i < 100; ++i) {
    silent.Append(0, 2);
    ASSERT_TRUE(silent.Insert().ok());
    for (int rows = 0; rows < 160; rows += 32) {
      busy.Append(0, 16);
      for (int j = 0; j < 8; ++j) busy.Append(1, 2, v1::TERMINATED);
      ASSERT_TRUE(busy.Insert().ok());
    }
  }
  EXPECT_GT(table->State().removed_items(), 1000u);
  EXPECT_EQ(table->State().lost_items(), 0u);
}

TEST(TableRoomTest, AWriterThatComesBackAfterItsRowsMadeRoomGoesOnBehindAGap) {
  v1::TableSpec spec = TestSpec();
  spec.set_max_bytes(20'000);
  const std::unique_ptr<Table> table = MakeTestTable(spec);
  TestWriter early(table.get(), 1);
  early.Append(0, 3);
  ASSERT_TRUE(early.Insert().ok());
  table->CloseWriter(1, early.opened().session);
  for (uint64_t id = 3; id < 20; ++id) ComeAndGo(*table, id);
  TestWriter other(table.get(), 2);
  for (int i = 0; i < 200; ++i) {
    other.Append(0, 8);
    ASSERT_TRUE(other.Insert().ok());
  }
  EXPECT_EQ(table->TakeSnapshot().writers.size(), 19u);
  for (const v1::WriterCheckpoint& saved : table->TakeSnapshot().writers) {
    if (saved.writer() <= 2) {
      EXPECT_EQ(saved.lanes_size(), saved.writer() == 1 ? 0 : 1) << "what is forgotten takes no memory";
    }
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

// The memory of what is sampled, or snapshot, is not reused before that is over.
TEST(TableRoomTest, InsertionWaitsForReadsThatHoldMemoryBack) {
  v1::TableSpec spec = TestSpec();
  spec.set_max_bytes(20'000);
  const std::unique_ptr<Table> table = MakeTestTable(spec);
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
TEST(TableRoomTest, InsertionGoesOnWhileASnapshotIsWritten) {
  v1::TableSpec spec = TestSpec();
  spec.set_max_bytes(20'000);
  const std::unique_ptr<Table> table = MakeTestTable(spec);
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

}  // namespace
}  // namespace headrace
