#include "replay/item_store.h"

#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "replay/testing.h"

namespace headrace {
namespace {

class ItemStoreTest : public testing::Test {
 protected:
  // 16 slabs of 4 rows (and a spare one), each row linked to the next.
  ItemStoreTest() {
    EXPECT_EQ(rows_.Reserve(64, addresses_), RowStore::Room::kReserved);
    for (size_t i = 0; i + 1 < addresses_.size(); ++i) rows_.SetNext(addresses_[i], addresses_[i + 1]);
  }

  ItemStore MakeStore(const v1::TableSpec& spec, size_t capacity = 100) { return ItemStore(spec, capacity, &rows_); }
  void ReleaseRows() {
    for (const RowStore::Address row : addresses_) rows_.Release(row);
  }

  RowStore rows_{16, 17 * 4 * 16};
  std::vector<RowStore::Address> addresses_;
  RandomStream random_{1, StreamRole::kTest, 0, StreamPurpose::kSampling};
};

TEST_F(ItemStoreTest, ItemsHoldTheirRows) {
  ItemStore items = MakeStore(TestSpec());
  items.Add(addresses_[2], 4);  // rows 2 to 5: slabs 0 and 1
  ReleaseRows();
  EXPECT_EQ(rows_.stored_bytes(), 2 * rows_.slab_bytes());
  items.RemoveOne(random_);
  EXPECT_EQ(rows_.stored_bytes(), 0u);
  EXPECT_EQ(items.removed(), 1u);
}

TEST_F(ItemStoreTest, RemovesTheOldestFirst) {
  ItemStore items = MakeStore(TestSpec());
  for (int i = 0; i < 3; ++i) items.Add(addresses_[i], 1);
  items.RemoveOne(random_);
  items.Add(addresses_[7], 1);  // takes the slot that was freed, but counts as the newest
  const std::vector<Item> all = items.Items();
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].first_row, addresses_[1]);
  EXPECT_EQ(all[1].first_row, addresses_[2]);
  EXPECT_EQ(all[2].first_row, addresses_[7]);
}

TEST_F(ItemStoreTest, NoTwoItemsEverHaveTheSameKey) {
  ItemStore items = MakeStore(TestSpec(), 3);
  std::set<uint64_t> keys;
  for (int i = 0; i < 100; ++i) {
    items.Add(addresses_[0], 1);
    EXPECT_TRUE(keys.insert(items.Sample(random_).key).second);
    items.RemoveOne(random_);
  }
}

TEST_F(ItemStoreTest, AnItemIsRemovedAfterItsLastSample) {
  v1::TableSpec spec = TestSpec();
  spec.set_sampler(v1::FIRST_IN_FIRST_OUT);
  spec.set_max_times_sampled(2);
  ItemStore items = MakeStore(spec);
  items.Add(addresses_[0], 1);
  items.Add(addresses_[1], 1);
  std::vector<RowStore::Address> drawn;
  while (items.size() > 0) drawn.push_back(items.Sample(random_).first_row);
  EXPECT_THAT(drawn, testing::ElementsAre(addresses_[0], addresses_[0], addresses_[1], addresses_[1]));
}

TEST_F(ItemStoreTest, GoesOnCountingSamplesOfARestoredItem) {
  v1::TableSpec spec = TestSpec();
  spec.set_max_times_sampled(3);
  ItemStore items = MakeStore(spec);
  items.Add(addresses_[0], 1, 2);
  items.Sample(random_);
  EXPECT_EQ(items.size(), 0u);
}

}  // namespace
}  // namespace headrace
