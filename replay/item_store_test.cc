#include "replay/item_store.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "replay/testing.h"

namespace headrace {
namespace {

std::vector<Item> Items(const ItemStore::Copy& copy) {
  std::vector<Item> items;
  for (const Item& item : copy) items.push_back(item);
  EXPECT_EQ(items.size(), copy.size());
  return items;
}

std::vector<Item> ItemsOf(ItemStore& store) {
  ItemStore::Copy copy;
  store.BeginCopy(copy);
  while (store.CopySome()) {
  }
  return Items(copy);
}

class ItemStoreTest : public testing::Test {
 protected:
  // 16 slabs of 4 rows (and a spare one), each row linked to the next.
  ItemStoreTest() {
    EXPECT_EQ(rows_.Reserve(64, addresses_), RowStore::Room::kReserved);
    for (size_t i = 0; i + 1 < addresses_.size(); ++i) rows_.SetNext(addresses_[i], addresses_[i + 1]);
  }

  ItemStore MakeStore(const v1::TableSpec& spec, size_t capacity = 100) { return ItemStore(spec, capacity, &rows_); }
  ItemStore::Drawn SampleOne(ItemStore& items) {
    ItemStore::Drawn drawn;
    items.Sample(random_, false, {&drawn, 1});
    return drawn;
  }
  void ReleaseRows() {
    for (const RowStore::Address row : addresses_) rows_.Release(row);
  }

  RowStore rows_{{.stride = 16}, 17 * 4 * 16};
  std::vector<RowStore::Address> addresses_;
  RandomStream random_{1, StreamRole::kTest, 0, StreamPurpose::kSampling};
};

TEST_F(ItemStoreTest, ItemsHoldTheirRows) {
  ItemStore items = MakeStore(TestSpec());
  items.Add({.first_row = addresses_[2], .rows = 4});  // rows 2 to 5: slabs 0 and 1
  ReleaseRows();
  EXPECT_EQ(rows_.stored_bytes(), 2 * rows_.slab_bytes());
  items.RemoveOne(random_);
  EXPECT_EQ(rows_.stored_bytes(), 0u);
  EXPECT_EQ(items.removed(), 1u);
}

TEST_F(ItemStoreTest, RemovesTheOldestFirst) {
  ItemStore items = MakeStore(TestSpec());
  for (int i = 0; i < 3; ++i) items.Add({.first_row = addresses_[i], .rows = 1});
  items.RemoveOne(random_);
  items.Add({.first_row = addresses_[7], .rows = 1});  // takes the slot that was freed, but counts as the newest
  const std::vector<Item> all = ItemsOf(items);
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].first_row, addresses_[1]);
  EXPECT_EQ(all[1].first_row, addresses_[2]);
  EXPECT_EQ(all[2].first_row, addresses_[7]);
}

TEST_F(ItemStoreTest, TheBooksOfAnItemTakeNoMoreThanNeeded) {
  EXPECT_EQ(ItemStore::BookBytes(v1::FIRST_IN_FIRST_OUT, v1::FIRST_IN_FIRST_OUT), 24u);
  EXPECT_EQ(ItemStore::BookBytes(v1::UNIFORM, v1::FIRST_IN_FIRST_OUT), 32u);
  EXPECT_EQ(ItemStore::BookBytes(v1::PROPORTIONAL, v1::FIRST_IN_FIRST_OUT), 30u);
}

TEST_F(ItemStoreTest, NoTwoItemsEverHaveTheSameKey) {
  ItemStore items = MakeStore(TestSpec(), 3);
  std::set<uint64_t> keys;
  for (int i = 0; i < 100; ++i) {
    items.Add({.first_row = addresses_[0], .rows = 1});
    EXPECT_TRUE(keys.insert(SampleOne(items).key).second);
    items.RemoveOne(random_);
  }
}

TEST_F(ItemStoreTest, AnItemIsRemovedAfterItsLastSample) {
  v1::TableSpec spec = TestSpec();
  spec.set_sampler(v1::FIRST_IN_FIRST_OUT);
  spec.set_max_times_sampled(2);
  ItemStore items = MakeStore(spec);
  items.Add({.first_row = addresses_[0], .rows = 1});
  items.Add({.first_row = addresses_[1], .rows = 1});
  std::vector<RowStore::Address> drawn;
  while (items.size() > 0) drawn.push_back(SampleOne(items).first_row);
  EXPECT_THAT(drawn, testing::ElementsAre(addresses_[0], addresses_[0], addresses_[1], addresses_[1]));
}

TEST_F(ItemStoreTest, DistinctItemsAreCountedAndRemovedAfterTheirLastSample) {
  v1::TableSpec spec = TestSpec();
  spec.set_max_times_sampled(2);
  ItemStore items = MakeStore(spec);
  for (int i = 0; i < 10; ++i) items.Add({.first_row = addresses_[i], .rows = 1});
  std::vector<ItemStore::Drawn> drawn(10);
  for (const size_t left : {10, 0}) {
    items.Sample(random_, true, drawn);
    std::set<RowStore::Address> rows;
    for (const ItemStore::Drawn& one : drawn) rows.insert(one.first_row);
    EXPECT_EQ(rows, std::set<RowStore::Address>(addresses_.begin(), addresses_.begin() + 10));
    EXPECT_EQ(items.size(), left);
  }
}

TEST_F(ItemStoreTest, GoesOnCountingSamplesOfARestoredItem) {
  v1::TableSpec spec = TestSpec();
  spec.set_max_times_sampled(3);
  ItemStore items = MakeStore(spec);
  items.Add({.first_row = addresses_[0], .rows = 1, .times_sampled = 2});
  SampleOne(items);
  EXPECT_EQ(items.size(), 0u);
}

TEST_F(ItemStoreTest, NewItemsHaveThePriorityTheyAreGiven) {
  v1::TableSpec spec = TestSpec();
  spec.set_sampler(v1::PROPORTIONAL);
  spec.set_priority_exponent(2);
  ItemStore items = MakeStore(spec);
  EXPECT_EQ(items.max_priority(), 1);
  items.Add({.first_row = addresses_[0], .rows = 1, .priority = 3});
  items.Add({.first_row = addresses_[1], .rows = 1, .priority = 1});
  EXPECT_EQ(items.max_priority(), 3);  // before the exponent
  EXPECT_EQ(items.mass(), 9 + 1);
}

TEST_F(ItemStoreTest, PrioritiesAreSetByKeyAndOnlyWhileTheItemIsThere) {
  v1::TableSpec spec = TestSpec();
  spec.set_sampler(v1::PROPORTIONAL);
  ItemStore items = MakeStore(spec);
  items.Add({.first_row = addresses_[0], .rows = 1});
  const uint64_t key = SampleOne(items).key;
  EXPECT_TRUE(items.SetPriority(key, 5));
  EXPECT_EQ(items.mass(), 5);
  EXPECT_EQ(items.max_priority(), 5);
  EXPECT_FALSE(items.SetPriority(key + 1, 7));  // a slot that was never used
  items.RemoveOne(random_);
  EXPECT_FALSE(items.SetPriority(key, 7));
  items.Add({.first_row = addresses_[0], .rows = 1, .priority = 2});  // in the same slot
  EXPECT_FALSE(items.SetPriority(key, 7));
  EXPECT_EQ(items.mass(), 2);
  EXPECT_EQ(items.max_priority(), 5);  // of all that there ever was
}

TEST_F(ItemStoreTest, RemovesByPriorityWhereTheRemoverDoes) {
  v1::TableSpec spec = TestSpec();
  spec.set_remover(v1::MINIMUM_PRIORITY);
  ItemStore items = MakeStore(spec);
  for (const float priority : {3.0f, 1.0f, 2.0f}) {
    items.Add({.first_row = addresses_[0], .rows = 1, .priority = priority});
  }
  items.RemoveOne(random_);
  const std::vector<Item> all = ItemsOf(items);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].priority, 3);
  EXPECT_EQ(all[1].priority, 2);
}

// The tree of the priorities would find a place where no item is.
TEST_F(ItemStoreTest, WhereNoItemHasAWeightTheOldestIsRemoved) {
  v1::TableSpec spec = TestSpec();
  spec.set_remover(v1::PROPORTIONAL);
  ItemStore items = MakeStore(spec);
  for (uint16_t rows = 1; rows <= 3; ++rows) {
    items.Add({.first_row = addresses_[0], .rows = rows, .priority = 0});
  }
  items.RemoveOne(random_);
  const std::vector<Item> all = ItemsOf(items);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].rows, 2);
  EXPECT_EQ(all[1].rows, 3);
}

// Compared with what the store held at the moment when each copy began, item by item.
TEST_F(ItemStoreTest, ACopyHoldsWhatWasThereWhenItBegan) {
  constexpr size_t kCapacity = 100'000;  // many pages
  v1::TableSpec spec = TestSpec();
  spec.set_sampler(v1::PROPORTIONAL);
  spec.set_max_items(kCapacity);
  ItemStore items = MakeStore(spec, kCapacity);
  std::vector<ItemStore::Drawn> drawn(64);
  const auto change = [&](int times) {
    for (int i = 0; i < times; ++i) {
      if (items.size() == kCapacity) items.RemoveOne(random_);
      items.Add({.first_row = addresses_[random_.Below(32)], .rows = 1, .priority = 1 + float(random_.Below(9))});
      items.Sample(random_, false, drawn);
      items.SetPriority(drawn[0].key, 1 + float(random_.Below(9)));
    }
  };
  const auto same = [](const Item& a, const Item& b) {
    return std::tie(a.first_row, a.rows, a.times_sampled, a.priority) ==
           std::tie(b.first_row, b.rows, b.times_sampled, b.priority);
  };
  for (size_t i = 0; i < kCapacity - 500; ++i) items.Add({.first_row = addresses_[i % 32], .rows = 1});
  for (int round = 0; round < 5; ++round) {
    const std::vector<Item> expected = ItemsOf(items);
    ItemStore::Copy copy;
    items.BeginCopy(copy);
    do {
      change(200);
    } while (items.CopySome());
    change(200);
    const std::vector<Item> copied = Items(copy);
    ASSERT_EQ(copied.size(), expected.size());
    for (size_t i = 0; i < copied.size(); ++i) ASSERT_TRUE(same(copied[i], expected[i])) << "item " << i;
    EXPECT_FALSE(std::ranges::equal(copied, ItemsOf(items), same)) << "nothing had changed";
  }
}

}  // namespace
}  // namespace headrace
