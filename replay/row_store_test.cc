#include "replay/row_store.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using Room = RowStore::Room;
using Rows = std::vector<RowStore::Address>;

constexpr size_t kStride = 16;
// 16 slabs of 4 rows, and a spare one.
constexpr uint64_t kBudget = 17 * 4 * kStride;
constexpr uint64_t kUsable = 16 * 4 * kStride;

void ReleaseAll(RowStore& store, Rows& rows) {
  for (const RowStore::Address row : rows) store.Release(row);
  rows.clear();
}

TEST(RowStoreTest, CutsASmallBudgetIntoSixteenSlabs) {
  RowStore store({.stride = kStride}, kBudget);
  EXPECT_EQ(store.rows_per_slab(), 4u);
  EXPECT_EQ(store.slab_bytes(), 64u);
}

TEST(RowStoreTest, RowsThatAreReusedSinglyAreWholeSlabs) {
  constexpr size_t kCost = kStride + RowStore::kSlabBooks;
  RowStore store({.stride = kStride, .singly = true}, 100 * kCost);
  Rows rows;
  ASSERT_EQ(store.Reserve(90, rows), Room::kReserved);
  EXPECT_EQ(store.stored_bytes(), 90 * kCost);
  for (const size_t i : {3, 50, 7}) store.Release(rows[i]);
  EXPECT_EQ(store.stored_bytes(), 87 * kCost);
  Rows more;
  ASSERT_EQ(store.Reserve(3, more), Room::kReserved);
  EXPECT_EQ(store.Reserve(10, more), Room::kFull);
}

TEST(RowStoreTest, GivesEveryRowMemoryOfItsOwn) {
  RowStore store({.stride = kStride}, kBudget);
  Rows rows;
  ASSERT_EQ(store.Reserve(64, rows), Room::kReserved);
  std::set<std::byte*> places;
  for (const RowStore::Address row : rows) {
    EXPECT_EQ(store.Next(row), RowStore::kNoRow);
    EXPECT_LT(row, store.address_end());
    places.insert(store.Row(row));
  }
  EXPECT_EQ(places.size(), 64u);
  EXPECT_EQ(store.stored_bytes(), kUsable);
}

TEST(RowStoreTest, IsFullAtItsBudgetAndTakesNothingThen) {
  RowStore store({.stride = kStride}, kBudget);
  Rows rows;
  ASSERT_EQ(store.Reserve(64, rows), Room::kReserved);
  EXPECT_EQ(store.Reserve(1, rows), Room::kFull);
  EXPECT_EQ(rows.size(), 64u);
  // One slab's worth of old rows goes: the slab is used again.
  for (size_t i = 0; i < 4; ++i) store.Release(rows[i]);
  Rows more;
  EXPECT_EQ(store.Reserve(4, more), Room::kReserved);
  EXPECT_EQ(store.stored_bytes(), kUsable);
}

// A table that was filled by a release which spared less is restored whole, and gives back as it goes on.
TEST(RowStoreTest, WhatIsRestoredMayTakeWhatIsSpared) {
  RowStore store({.stride = kStride}, kBudget);
  std::vector<RowStore::Address> rows;
  EXPECT_EQ(store.Reserve(store.max_rows() + 1, rows), RowStore::Room::kFull);
  EXPECT_EQ(store.Reserve(store.address_end(), rows, /*all=*/true), RowStore::Room::kReserved);
  EXPECT_EQ(store.Reserve(1, rows, /*all=*/true), RowStore::Room::kFull);
  size_t released = 0;
  std::vector<RowStore::Address> next;
  while (store.Reserve(1, next) == RowStore::Room::kFull) store.Release(rows[released++]);
  EXPECT_EQ(released, store.address_end() - store.max_rows() + store.rows_per_slab());
}

TEST(RowStoreTest, ASlabIsFreeWhenItsLastReferenceIsGone) {
  RowStore store({.stride = kStride}, kBudget);
  Rows rows;
  ASSERT_EQ(store.Reserve(8, rows), Room::kReserved);
  EXPECT_EQ(store.stored_bytes(), 128u);
  store.Reference(rows[1]);
  for (size_t i = 0; i < 4; ++i) store.Release(rows[i]);
  EXPECT_EQ(store.stored_bytes(), 128u);
  store.Release(rows[1]);
  EXPECT_EQ(store.stored_bytes(), 64u);
}

// A table could refuse a chunk as too large although everything else had been removed: the slab being filled had no
// references left, but was not given back.
TEST(RowStoreTest, ASlabIsFreeAtOnceAlsoWhileItIsBeingFilled) {
  RowStore store({.stride = kStride}, kBudget);
  for (const size_t count : {4, 3}) {
    Rows rows;
    ASSERT_EQ(store.Reserve(count, rows), Room::kReserved);
    ReleaseAll(store, rows);
    EXPECT_EQ(store.stored_bytes(), 0u);
  }
  Rows rows;
  EXPECT_EQ(store.Reserve(64, rows), Room::kReserved);
}

// It used to take the rest of the slab being filled with it: a quarter of a small table.
TEST(RowStoreTest, AReservationThatFailsTakesNothing) {
  RowStore store({.stride = kStride}, kBudget);
  EXPECT_EQ(store.max_rows(), 64u);
  Rows rows;
  EXPECT_EQ(store.Reserve(65, rows), Room::kFull);
  EXPECT_EQ(store.stored_bytes(), 0u);
  ASSERT_EQ(store.Reserve(62, rows), Room::kReserved);
  EXPECT_EQ(store.Reserve(3, rows), Room::kFull);
  EXPECT_EQ(rows.size(), 62u);
  EXPECT_EQ(store.Reserve(2, rows), Room::kReserved);
}

TEST(RowStoreTest, ReusesASlabOnlyAfterTheReadsThatMaySeeIt) {
  RowStore store({.stride = kStride}, kBudget);
  Rows rows;
  ASSERT_EQ(store.Reserve(64, rows), Room::kReserved);
  std::byte* const first = store.Row(rows[0]);
  const uint64_t early = store.BeginRead();
  Rows old(rows.begin(), rows.begin() + 4);
  ReleaseAll(store, old);
  const uint64_t late = store.BeginRead();  // cannot see the slab any more
  Rows again;
  ASSERT_EQ(store.Reserve(4, again), Room::kReserved);
  EXPECT_NE(store.Row(again[0]), first) << "a spare slab is used as long as the early read goes on";
  ReleaseAll(store, again);
  store.EndRead(early);
  ASSERT_EQ(store.Reserve(4, again), Room::kReserved);
  EXPECT_EQ(store.Row(again[0]), first);
  store.EndRead(late);
}

TEST(RowStoreTest, IsHeldBackWhenReadsKeepAllSpareSlabs) {
  RowStore store({.stride = kStride}, kBudget);
  const uint64_t read = store.BeginRead();
  // Each round frees a slab that the read may see; 16 slabs and the spare one are soon used up.
  Room room = Room::kReserved;
  int rounds = 0;
  while (room == Room::kReserved) {
    Rows rows;
    room = store.Reserve(4, rows);
    ReleaseAll(store, rows);
    ASSERT_LE(++rounds, 18);
  }
  EXPECT_EQ(room, Room::kHeldBack);
  EXPECT_EQ(rounds, 18);
  EXPECT_EQ(store.stored_bytes(), kBudget) << "what is held back takes memory, but never more than the budget";
  store.EndRead(read);
  EXPECT_EQ(store.stored_bytes(), 0u);
  Rows rows;
  EXPECT_EQ(store.Reserve(64, rows), Room::kReserved);
}

TEST(RowStoreTest, AFreeSlabThatIsPinnedIsReusedOnceItIsUnpinned) {
  RowStore store({.stride = kStride}, kBudget);
  Rows rows;
  ASSERT_EQ(store.Reserve(64, rows), Room::kReserved);
  const std::vector<RowStore::Pinned> pinned = store.Pin();
  ASSERT_EQ(pinned.size(), 16u);
  Rows oldest(rows.begin(), rows.begin() + 8), more;
  ReleaseAll(store, oldest);
  ASSERT_EQ(store.Reserve(4, more), Room::kReserved) << "the spare slab";
  EXPECT_EQ(store.Reserve(4, more), Room::kHeldBack) << "and not kFull, for which something would be removed";
  EXPECT_EQ(store.stored_bytes(), kBudget) << "what is pinned takes memory";
  store.Unpin(pinned[1]);
  ASSERT_EQ(store.Reserve(4, more), Room::kReserved);
  EXPECT_EQ(store.Row(more[4]), store.Row(rows[4]));
  for (const RowStore::Pinned& slab : pinned) {
    if (slab.slab != pinned[1].slab) store.Unpin(slab);
  }
  EXPECT_EQ(store.stored_bytes(), kUsable);
}

TEST(RowStoreTest, ASlabPinnedTwiceWaitsForBoth) {
  RowStore store({.stride = kStride}, kBudget);
  Rows rows, more;
  ASSERT_EQ(store.Reserve(4, rows), Room::kReserved);
  const RowStore::Pinned first = store.Pin()[0], second = store.Pin()[0];
  ReleaseAll(store, rows);
  EXPECT_TRUE(store.Pin().empty()) << "nothing in it is referenced any more";
  ASSERT_EQ(store.Reserve(64, more), Room::kReserved);
  store.Unpin(first);
  ReleaseAll(store, more);
  EXPECT_EQ(store.stored_bytes(), store.slab_bytes());
  store.Unpin(second);
  EXPECT_EQ(store.stored_bytes(), 0u);
}

// Slabs are reused in another order than that of their addresses.
TEST(RowStoreTest, PinnedSlabsSayWhichHasTheOldestRows) {
  RowStore store({.stride = kStride}, kBudget);
  Rows rows, more;
  ASSERT_EQ(store.Reserve(64, rows), Room::kReserved);
  for (size_t i = 4; i < 8; ++i) store.Release(rows[i]);
  ASSERT_EQ(store.Reserve(4, more), Room::kReserved);
  for (size_t i = 0; i < 4; ++i) store.Release(rows[i]);
  ASSERT_EQ(store.Reserve(4, more), Room::kReserved);
  std::vector<RowStore::Pinned> pinned = store.Pin();
  std::ranges::sort(pinned, {}, &RowStore::Pinned::opened_at);
  ASSERT_EQ(pinned.size(), 16u);
  EXPECT_EQ(store.rows_per_slab() * pinned.front().slab, rows[8]);
  EXPECT_EQ(store.rows_per_slab() * pinned.back().slab, more[4]);
}

TEST(RowStoreTest, HoldsTwoRowsHoweverSmallTheBudget) {
  RowStore store({.stride = 1000}, 1);
  Rows rows;
  EXPECT_EQ(store.Reserve(2, rows), Room::kReserved);
  EXPECT_EQ(store.Reserve(1, rows), Room::kFull);
}

// Four rows of cells that are a quarter of the budget each.
TEST(RowStoreCellsTest, CountTowardsTheBudgetAndGoWithTheLastSlabThatHasRowsOfTheirs) {
  constexpr size_t kCells = kBudget / 4;
  RowStore store({.stride = kStride, .least = 2 * kStride, .most = kBudget / 16}, kBudget);
  ASSERT_EQ(store.rows_per_slab(), 1u) << "so that two rows are in two slabs";
  EXPECT_FALSE(store.CanHold(1, kBudget));
  Rows first, second, third;
  std::byte* cells = nullptr;
  ASSERT_EQ(store.Reserve(2, kCells, first, cells), RowStore::Room::kReserved);
  std::memset(cells, 1, kCells);
  ASSERT_EQ(store.Reserve(1, 2 * kCells, second, cells), RowStore::Room::kReserved);
  EXPECT_EQ(store.stored_bytes(), 3 * store.slab_bytes() + 3 * kCells);
  EXPECT_EQ(store.Reserve(1, kCells, third, cells), RowStore::Room::kFull);
  store.Release(first[0]);
  EXPECT_EQ(store.Reserve(1, kCells, third, cells), RowStore::Room::kFull) << "another row has cells of the block";
  const uint64_t read = store.BeginRead();
  store.Release(first[1]);
  EXPECT_EQ(store.Reserve(1, kCells, third, cells), RowStore::Room::kHeldBack);
  store.EndRead(read);
  EXPECT_EQ(store.Reserve(1, kCells, third, cells), RowStore::Room::kReserved);
  EXPECT_EQ(store.stored_bytes(), 2 * store.slab_bytes() + 3 * kCells);
}

TEST(RowStoreCellsTest, ArePinnedWithTheirRows) {
  constexpr size_t kCells = kBudget / 4;
  RowStore store({.stride = kStride, .least = 2 * kStride, .most = kBudget / 16}, kBudget);
  Rows first, second, third;
  std::byte* cells = nullptr;
  ASSERT_EQ(store.Reserve(2, kCells, first, cells), RowStore::Room::kReserved);
  std::memset(cells, 1, kCells);
  const std::byte* const pinned_cells = cells;
  ASSERT_EQ(store.Reserve(1, 2 * kCells, second, cells), RowStore::Room::kReserved);
  std::vector<RowStore::Pinned> pinned = store.Pin();
  std::ranges::sort(pinned, {}, &RowStore::Pinned::opened_at);
  ASSERT_EQ(pinned.size(), 3u);
  ReleaseAll(store, first);
  EXPECT_EQ(store.Reserve(1, kCells, third, cells), RowStore::Room::kHeldBack);
  store.Unpin(pinned[0]);
  EXPECT_EQ(store.Reserve(1, kCells, third, cells), RowStore::Room::kHeldBack) << "another row has cells of the block";
  EXPECT_EQ(pinned_cells[kCells - 1], std::byte{1});
  store.Unpin(pinned[1]);
  EXPECT_EQ(store.Reserve(1, kCells, third, cells), RowStore::Room::kReserved);
  store.Unpin(pinned[2]);
  EXPECT_EQ(store.stored_bytes(), 2 * store.slab_bytes() + 3 * kCells);
}

// What was added to a slab after it was pinned is none of the pin's.
TEST(RowStoreCellsTest, NewCellsOfAPinnedSlabAreNotPinned) {
  RowStore store({.stride = kStride, .least = kStride, .most = kStride + 1}, kBudget);
  Rows first, second;
  std::byte* cells = nullptr;
  ASSERT_EQ(store.Reserve(1, 8, first, cells), RowStore::Room::kReserved);
  const RowStore::Pinned pinned = store.Pin()[0];
  ASSERT_EQ(store.Reserve(1, 16, second, cells), RowStore::Room::kReserved);
  EXPECT_EQ(store.rows_per_slab() * pinned.slab + 1, second[0]) << "in the same slab";
  ReleaseAll(store, first);
  ReleaseAll(store, second);
  store.Unpin(pinned);
  EXPECT_EQ(store.stored_bytes(), 0u);
}

}  // namespace
}  // namespace headrace
