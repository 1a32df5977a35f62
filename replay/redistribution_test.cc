#include "replay/redistribution.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <latch>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/file.h"
#include "common/protocol.h"
#include "common/test_directory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "replay/checkpoint.h"
#include "replay/shard.h"
#include "replay/testing.h"

namespace headrace {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAreArray;

constexpr uint64_t kBudget = 4 << 20;

// An item in words: what it counts, and the rows it holds.
std::string Words(const Table& table, const Item& item) {
  std::string words = absl::StrCat(item.times_sampled, " times, ", item.priority, ", ", item.context, " before:");
  RowStore::Address row = item.first_row;
  for (uint32_t i = 0; i < item.rows_held(); ++i, row = table.rows().Next(row)) {
    float lane_and_row[2];
    std::memcpy(lane_and_row, table.rows().Row(row) + table.layout().columns()[0].offset, sizeof(lane_and_row));
    absl::StrAppend(&words, " ", lane_and_row[0], "/", lane_and_row[1]);
  }
  return words;
}

std::vector<std::string> Items(Table& table) {
  const Table::Snapshot snapshot = table.TakeSnapshot();
  std::vector<std::string> words;
  for (const Item& item : snapshot.tables[0].items) words.push_back(Words(table, item));
  return words;
}

class RedistributionTest : public testing::Test {
 protected:
  RedistributionTest() : spec_(TestSpec()) {
    spec_.set_sampler(v1::PROPORTIONAL);
    spec_.set_max_items(1000);
    spec_.set_context_rows(1);
    spec_.set_max_item_rows(5);
    redistribution_.set_name("cut");
  }

  std::string Directory(uint32_t shard) const { return absl::StrCat(directory_.path(), "/", shard); }

  // A checkpoint by this shard, of episodes of 10 steps: each of a lane of its own writer, in chunks of 3 steps.
  void WriteShard(uint32_t number, int episodes) {
    Shard shard(number, kBudget, 1, 2);
    Table& table = **shard.CreateTable(MakePeer("run", "learner"), spec_);
    for (int i = 0; i < episodes; ++i) {
      TestWriter writer(&table, 100 * number + i + 1, {.rows = 4, .stride = 2});
      for (const uint32_t rows : {3, 3, 3, 2}) {
        writer.Append(number * 4, rows, rows == 2 ? v1::TERMINATED : v1::NOT_ENDED);
        EXPECT_TRUE(writer.Insert().ok());
      }
    }
    Table::Batch batch;
    EXPECT_TRUE(table.Sample({20, 1, number}, batch, {&table, [] {}}).ok());
    for (const ItemStore::Drawn& item : batch.items()) {
      EXPECT_TRUE(table.UpdatePriorities(1, {{item.key}}, {{0.5f + static_cast<float>(item.first_row)}}).ok());
    }
    for (const std::string& words : Items(table)) before_.push_back(words);
    v1::CheckpointRequest request;
    request.set_name("cut");
    request.set_keep(1);
    const absl::StatusOr<v1::CheckpointResponse> written = WriteCheckpoint(shard, Directory(number), request);
    ASSERT_TRUE(written.ok()) << written.status();
    v1::ShardFile& file = *redistribution_.add_files();
    file.set_shard(number);
    file.set_path(written->path());
  }

  // Every file can be read by all shards of now.
  void SetReaders(uint32_t shards) {
    for (v1::ShardFile& file : *redistribution_.mutable_files()) {
      file.clear_readers();
      for (uint32_t i = 0; i < shards; ++i) file.add_readers(i);
    }
  }
  std::unique_ptr<Shard> TakeInto(uint32_t number, uint32_t shards) {
    SetReaders(shards);
    return TakeItsTurns(number, shards);
  }
  std::unique_ptr<Shard> TakeItsTurns(uint32_t number, uint32_t shards) {
    auto shard = std::make_unique<Shard>(number, kBudget, 2, shards);
    const absl::StatusOr<Table*> table = shard->CreateTable(MakePeer("run", "learner"), spec_, &redistribution_);
    EXPECT_TRUE(table.ok()) << table.status();
    return shard;
  }

  TestDirectory directory_;
  v1::TableSpec spec_;
  v1::Redistribution redistribution_;
  std::vector<std::string> before_;
};

TEST_F(RedistributionTest, EveryItemIsOnOneShardWithItsWholeEpisode) {
  WriteShard(0, 7);
  WriteShard(1, 5);
  for (const uint32_t shares : {1u, 3u, 4u}) {
    std::vector<std::string> after;
    for (uint32_t number = 0; number < shares; ++number) {
      const std::unique_ptr<Shard> shard = TakeInto(number, shares);
      EXPECT_EQ(shard->restored_from(), "cut");
      const std::vector<std::string> items = Items(*shard->Tables()[0]);
      // Of an episode of 11 rows there are 4 items of 4 rows, every other row.
      EXPECT_EQ(items.size() % 4, 0u);
      EXPECT_GE(items.size(), (7 / shares + 5 / shares) * 4) << "each file is dealt out evenly";
      after.insert(after.end(), items.begin(), items.end());
    }
    EXPECT_THAT(before_, SizeIs(48));
    EXPECT_THAT(after, UnorderedElementsAreArray(before_)) << shares << " shares";
  }
}

TEST_F(RedistributionTest, OldItemsAreRemovedFirstWhicheverShardTheyAreFrom) {
  WriteShard(0, 4);
  WriteShard(1, 2);
  const std::unique_ptr<Shard> shard = TakeInto(0, 1);
  const std::vector<std::string> all = Items(*shard->Tables()[0]);
  std::vector<size_t> of_the_second;
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i].find(" 4/") != std::string::npos) of_the_second.push_back(i);
  }
  ASSERT_THAT(of_the_second, SizeIs(8));
  EXPECT_LT(of_the_second.front(), 4u);
  EXPECT_GE(of_the_second.back(), 20u);
}

TEST_F(RedistributionTest, TheOldestAreLeftOutWhereThereIsNoRoom) {
  WriteShard(0, 7);
  spec_.set_max_items(10);
  const std::unique_ptr<Shard> shard = TakeInto(0, 1);
  EXPECT_THAT(Items(*shard->Tables()[0]), UnorderedElementsAreArray(before_.end() - 8, before_.end()));
}

TEST_F(RedistributionTest, CountersAreThoseItIsGiven) {
  WriteShard(0, 3);
  redistribution_.mutable_state()->set_inserted_steps(17);
  redistribution_.mutable_state()->set_max_priority(99);
  const std::unique_ptr<Shard> shard = TakeInto(1, 2);
  const v1::TableState state = shard->Tables()[0]->State();
  EXPECT_EQ(state.inserted_steps(), 17u);
  EXPECT_EQ(state.max_priority(), 99);
  EXPECT_EQ(state.insert_limit(), shard->Tables()[0]->spec().initial_insert_limit());
}

TEST_F(RedistributionTest, AFileIsSharedAmongWhoCanReadIt) {
  WriteShard(0, 3);
  const std::vector<std::string> first = before_;
  WriteShard(1, 4);
  redistribution_.mutable_files(0)->add_readers(0);
  redistribution_.mutable_files(1)->add_readers(1);
  redistribution_.mutable_files(1)->add_readers(2);
  EXPECT_EQ(Items(*TakeItsTurns(0, 3)->Tables()[0]), first);
  std::vector<std::string> second;
  for (const uint32_t number : {1, 2}) {
    const std::vector<std::string> items = Items(*TakeItsTurns(number, 3)->Tables()[0]);
    EXPECT_THAT(items, SizeIs(8));
    second.insert(second.end(), items.begin(), items.end());
  }
  EXPECT_THAT(second, UnorderedElementsAreArray(before_.begin() + static_cast<int>(first.size()), before_.end()));
}

TEST_F(RedistributionTest, OfFilesAtTheirPlacesThoseOfTheseShardsAreReadable) {
  WriteShard(0, 3);
  WriteShard(1, 3);
  EXPECT_THAT(ReadableFiles(redistribution_, "run"), ElementsAre(0, 1));
  EXPECT_THAT(ReadableFiles(redistribution_, "another"), IsEmpty());
  // Each machine may have its own at the same place.
  redistribution_.mutable_files(1)->set_path(redistribution_.files(0).path());
  EXPECT_THAT(ReadableFiles(redistribution_, "run"), ElementsAre(0));
  redistribution_.mutable_files(0)->set_path("/nowhere/cut.replay");
  EXPECT_THAT(ReadableFiles(redistribution_, "run"), IsEmpty());
  redistribution_.mutable_files(0)->set_path(redistribution_.files(1).path());
  redistribution_.set_name("another");
  EXPECT_THAT(ReadableFiles(redistribution_, "run"), IsEmpty());
}

// A shard waited for ever for what somebody might write into it.
TEST_F(RedistributionTest, APipeIsNoFile) {
  WriteShard(0, 3);
  const std::string pipe = directory_.path() + "/pipe.replay";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  redistribution_.mutable_files(0)->set_path(pipe);
  EXPECT_THAT(ReadableFiles(redistribution_, "run"), IsEmpty());
  EXPECT_THAT(Items(*TakeInto(0, 1)->Tables()[0]), IsEmpty());
}

TEST_F(RedistributionTest, ThereAreNoMoreFilesThanShards) {
  for (int i = 0; i < 1024; ++i) redistribution_.add_files()->add_readers(0);
  EXPECT_TRUE(CheckRedistribution(redistribution_).ok());
  redistribution_.add_files();
  EXPECT_TRUE(absl::IsInvalidArgument(CheckRedistribution(redistribution_)));
  redistribution_.clear_files();
  v1::ShardFile& file = *redistribution_.add_files();
  for (int i = 0; i < 1025; ++i) file.add_readers(0);
  EXPECT_TRUE(absl::IsInvalidArgument(CheckRedistribution(redistribution_)));
}

// Such a run once went on from nearly nothing, said so nowhere but in a shard's log, and wrote over its checkpoint.
TEST_F(RedistributionTest, FilesOfARunThatWasMovedAreFoundWhereItIsNow) {
  WriteShard(0, 3);
  WriteShard(1, 3);
  const std::string moved = absl::StrCat(directory_.path(), "/moved");
  std::filesystem::create_directory(moved);
  for (const char* const shard : {"/0", "/1"}) {
    std::filesystem::rename(directory_.path() + shard, moved + shard);
  }
  redistribution_ = FindFiles(redistribution_, moved + "/0/");
  EXPECT_THAT(Items(*TakeInto(0, 1)->Tables()[0]), UnorderedElementsAreArray(before_));
}

TEST_F(RedistributionTest, OfARunThatWasCopiedTheCopysOwnFilesAreTaken) {
  WriteShard(0, 3);
  const std::string copy = absl::StrCat(directory_.path(), "/copy");
  std::filesystem::create_directory(copy);
  std::filesystem::copy(Directory(0), copy + "/0", std::filesystem::copy_options::recursive);
  EXPECT_THAT(FindFiles(redistribution_, copy + "/0").files(0).path(), HasSubstr("/copy/0/"));
  EXPECT_EQ(FindFiles(redistribution_, "/elsewhere/0").files(0).path(), redistribution_.files(0).path());
}

// Its readers leave its steps out of the counters, from which the learner sees that they are lost.
TEST_F(RedistributionTest, WhatHasGoneSinceIsLostAlone) {
  WriteShard(0, 3);
  const size_t lost = before_.size();
  WriteShard(1, 3);
  std::filesystem::remove(redistribution_.files(0).path());
  redistribution_.mutable_files(0)->set_inserted_steps(31);
  redistribution_.mutable_state()->set_inserted_steps(100);
  std::vector<std::string> after;
  uint64_t steps = 0;
  for (const uint32_t number : {0, 1}) {
    const std::unique_ptr<Shard> shard = TakeInto(number, 2);
    const std::vector<std::string> items = Items(*shard->Tables()[0]);
    after.insert(after.end(), items.begin(), items.end());
    steps += shard->Tables()[0]->State().inserted_steps();
  }
  EXPECT_EQ(steps, 2 * 100u - 31);
  EXPECT_THAT(after, UnorderedElementsAreArray(before_.begin() + static_cast<int>(lost), before_.end()));
}

TEST_F(RedistributionTest, ATableThatIsThereStaysAsItIs) {
  WriteShard(0, 3);
  const std::unique_ptr<Shard> shard = TakeInto(0, 1);
  Table::Batch batch;
  ASSERT_TRUE(shard->Tables()[0]->Sample({5, 1, 1}, batch, {&batch, [] {}}).ok());
  const std::vector<std::string> items = Items(*shard->Tables()[0]);
  ASSERT_TRUE(shard->CreateTable(MakePeer("run", "learner"), spec_, &redistribution_).ok());
  EXPECT_EQ(Items(*shard->Tables()[0]), items);
}

TEST_F(RedistributionTest, ManyWhoAskAtOnceGetOneTableThatIsFilledOnce) {
  WriteShard(0, 7);
  SetReaders(1);
  Shard shard(0, kBudget, 2, 1);
  std::latch together(8);
  std::vector<absl::StatusOr<Table*>> answers(8);
  {
    std::vector<std::jthread> threads;
    for (absl::StatusOr<Table*>& answer : answers) {
      threads.emplace_back([&] {
        together.arrive_and_wait();
        answer = shard.CreateTable(MakePeer("run", "learner"), spec_, &redistribution_);
      });
    }
  }
  size_t filled = 0;
  for (const absl::StatusOr<Table*>& answer : answers) {
    if (answer.ok()) {
      EXPECT_EQ(*answer, shard.Tables()[0]);
      ++filled;
    } else {
      EXPECT_TRUE(absl::IsUnavailable(answer.status())) << answer.status();
      EXPECT_THAT(answer.status().message(), HasSubstr("a table is being created"));
    }
  }
  EXPECT_GE(filled, 1u);
  EXPECT_THAT(Items(*shard.Tables()[0]), UnorderedElementsAreArray(before_));
}

// A shard starts before there is a learner that says what becomes of the old checkpoint.
TEST_F(RedistributionTest, AShardOfAnotherNumberLeavesItsCheckpointToTheLearner) {
  WriteShard(0, 3);
  Shard same(0, kBudget, 2, 2);
  EXPECT_EQ(*RestoreNewest(Directory(0), same), "cut");
  Shard other(0, kBudget, 3, 3);
  EXPECT_EQ(*RestoreNewest(Directory(0), other), "");
  EXPECT_THAT(other.Tables(), IsEmpty());
  EXPECT_EQ(*WriteLastCheckpoint(other, Directory(0)), "") << "it would hide the one that is to be spread";
}

// Every shard finds it damaged, and all share what the other file holds.
TEST_F(RedistributionTest, OfADamagedFileAloneItemsAreLost) {
  WriteShard(0, 3);
  const size_t lost = before_.size();
  WriteShard(1, 5);
  const std::string path = redistribution_.files(0).path();
  std::string bytes = *ReadFile(path);
  bytes[bytes.size() / 2] ^= 1;
  ASSERT_TRUE(WriteFileAtomically(path, bytes).ok());
  std::vector<std::string> after;
  for (uint32_t number = 0; number < 3; ++number) {
    const std::unique_ptr<Shard> shard = TakeInto(number, 3);
    const std::vector<std::string> items = Items(*shard->Tables()[0]);
    after.insert(after.end(), items.begin(), items.end());
    TestWriter writer(shard->Tables()[0], 1, {.rows = 4, .stride = 2});
    writer.Append(0, 6);
    EXPECT_TRUE(writer.Insert().ok());
    EXPECT_THAT(Items(*shard->Tables()[0]), SizeIs(items.size() + 2));
  }
  EXPECT_THAT(after, UnorderedElementsAreArray(std::vector<std::string>(before_.begin() + lost, before_.end())));
}

// Which rows its items are over is known in the old files alone, and the other table has taken a part of them.
TEST_F(RedistributionTest, ATableOverAnotherBeginsEmpty) {
  WriteShard(0, 7);
  Shard old(1, kBudget, 1, 2);
  v1::TableSpec over = spec_;
  over.set_name("a");
  over.set_over("t");
  Table& rows = **old.CreateTable(MakePeer("run", "learner"), spec_);
  Table& table = **old.CreateTable(MakePeer("run", "learner"), over);
  TestWriter writer(&rows, 1, {.rows = 4, .stride = 2}, 1, {{"a", {}}});
  writer.Append(5, 10, v1::TERMINATED);
  ASSERT_TRUE(writer.Insert().ok());
  for (const std::string& words : Items(rows)) before_.push_back(words);
  EXPECT_EQ(table.State().items(), 9u);
  v1::CheckpointRequest request;
  request.set_name("cut");
  request.set_keep(1);
  v1::ShardFile& file = *redistribution_.add_files();
  file.set_shard(1);
  file.set_path(WriteCheckpoint(old, Directory(1), request)->path());

  const std::unique_ptr<Shard> shard = TakeInto(0, 1);
  EXPECT_THAT(Items(*shard->Tables()[0]), UnorderedElementsAreArray(before_));
  redistribution_.mutable_state()->set_inserted_steps(17);
  const absl::StatusOr<Table*> taken = shard->CreateTable(MakePeer("run", "learner"), over, &redistribution_);
  ASSERT_TRUE(taken.ok()) << taken.status();
  EXPECT_EQ((*taken)->State().items(), 0u);
  const absl::Status status = TakeShare(redistribution_, "run", 0, **taken);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(status.message(), HasSubstr("its items are over rows of table \"t\""));
  TestWriter next(shard->Tables()[0], 2, {.rows = 4, .stride = 2}, 1, {{"a", {}}});
  next.Append(0, 6);
  ASSERT_TRUE(next.Insert().ok());
  EXPECT_EQ((*taken)->State().items(), 5u);
}

}  // namespace
}  // namespace headrace
