#include "learner/replay_restore.h"

#include <chrono>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/protocol.h"
#include "common/test_directory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "replay/checkpoint.h"
#include "replay/redistribution.h"
#include "replay/service_testing.h"
#include "replay/testing.h"

namespace headrace {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(ShardStatesTest, AreSharesOfAllWhereThereIsAnotherNumberNow) {
  v1::CheckpointManifest manifest;
  manifest.set_name("update-5");
  for (const uint32_t number : {0, 1}) {
    v1::CheckpointResponse& shard = *manifest.add_shards();
    shard.set_shard(number);
    shard.set_path(absl::StrCat("replay-", number));
    v1::TableState& state = *shard.add_tables();
    state.set_table("experience");
    state.set_inserted_steps(100 + number);
    state.set_max_priority(2 - static_cast<float>(number));
  }
  const std::vector<v1::TableState> states = ShardStates(manifest, "experience", 3);
  ASSERT_EQ(states.size(), 3u);
  for (const v1::TableState& state : states) {
    EXPECT_EQ(state.inserted_steps(), 67u);
    EXPECT_EQ(state.max_priority(), 2);
    EXPECT_EQ(state.table(), "experience");
  }
  EXPECT_TRUE(NumberOfShardsChanged(manifest, 3));
  EXPECT_FALSE(NumberOfShardsChanged(manifest, 2));
  for (v1::CheckpointResponse& shard : *manifest.mutable_shards()) shard.clear_path();
  EXPECT_FALSE(NumberOfShardsChanged(manifest, 3)) << "contents were not saved";
}

TEST(ShardStatesTest, AreFoundByShardAndTable) {
  v1::CheckpointManifest manifest;
  v1::CheckpointResponse& shard = *manifest.add_shards();
  shard.set_shard(1);
  shard.add_tables()->set_table("another");
  shard.mutable_tables(0)->set_inserted_steps(5);
  shard.add_tables()->set_table("experience");
  shard.mutable_tables(1)->set_inserted_steps(7);
  manifest.add_shards()->set_shard(9);  // of a time with more shards
  const std::vector<v1::TableState> states = ShardStates(manifest, "experience", 2);
  ASSERT_EQ(states.size(), 2u);
  EXPECT_EQ(states[0].table(), "");
  EXPECT_EQ(states[1].inserted_steps(), 7);
}

// Two shards wrote a checkpoint, each into a directory of its own below one that they had in common; now there are
// three, each of another machine, which has what is said of these directories.
class PlanRedistributionTest : public testing::Test {
 protected:
  PlanRedistributionTest() {
    manifest_.set_name("cut");
    for (const uint32_t number : {0, 1}) {
      Shard shard(number, 4 << 20, 1, 2);
      Table& table = **shard.CreateTable(MakePeer("run", "learner"), TestSpec());
      TestWriter writer(&table, 1);
      for (int episode = 0; episode < 5; ++episode) {
        writer.Append(2 * number, 11, v1::TERMINATED);
        EXPECT_TRUE(writer.Insert().ok());
      }
      items_ += table.State().items();
      v1::CheckpointRequest request;
      request.set_name("cut");
      request.set_keep(1);
      *manifest_.add_shards() = *WriteCheckpoint(shard, absl::StrCat(directory_.path(), "/old/", number), request);
    }
  }

  // The directory of shard `number` on a machine that has copies of what these wrote.
  std::string MachineWith(uint32_t number, const std::vector<uint32_t>& old) const {
    const std::string machine = absl::StrCat(directory_.path(), "/machine-", number);
    std::filesystem::create_directories(absl::StrCat(machine, "/", number));
    for (const uint32_t shard : old) {
      std::filesystem::copy(absl::StrCat(directory_.path(), "/old/", shard), absl::StrCat(machine, "/", shard),
                            std::filesystem::copy_options::recursive);
    }
    return absl::StrCat(machine, "/", number);
  }

  // `old`: what the machine of each shard has.
  void StartShards(const std::vector<std::vector<uint32_t>>& old) {
    for (uint32_t i = 0; i < old.size(); ++i) {
      shards_.push_back(std::make_unique<TestShard>(i, MachineWith(i, old[i]), false, 3));
      addresses_.push_back(shards_.back()->address());
    }
    std::filesystem::remove_all(directory_.path() + "/old");
  }
  absl::StatusOr<std::vector<v1::Redistribution>> Plan(const std::string& run = "run") {
    return PlanRedistribution(manifest_, "t", MakePeer(run, "learner"), addresses_);
  }
  // Of all shards, by lane and row of their first: how many of each.
  std::map<std::pair<float, float>, int> ItemsOf(const std::vector<v1::Redistribution>& plans) {
    std::map<std::pair<float, float>, int> items;
    for (size_t i = 0; i < shards_.size(); ++i) {
      const v1::Redistribution here = FindFiles(plans[i], MachineDirectory(i));
      EXPECT_TRUE(shards_[i]->shard().CreateTable(MakePeer("run", "learner"), TestSpec(), &here).ok());
      Table& table = shards_[i]->table();
      const Table::Snapshot snapshot = table.TakeSnapshot();
      for (const Item& item : snapshot.tables[0].items) {
        float lane_and_row[2];
        std::memcpy(lane_and_row, table.rows().Row(item.first_row) + table.layout().columns()[0].offset,
                    sizeof(lane_and_row));
        ++items[{lane_and_row[0], lane_and_row[1]}];
      }
    }
    return items;
  }
  std::string MachineDirectory(size_t i) const { return absl::StrCat(directory_.path(), "/machine-", i, "/", i); }

  TestDirectory directory_;
  v1::CheckpointManifest manifest_;
  size_t items_ = 0;
  std::vector<std::unique_ptr<TestShard>> shards_;
  std::vector<std::string> addresses_;
};

TEST_F(PlanRedistributionTest, EachItemIsTakenOnceWhoeverSeesWhichFiles) {
  StartShards({{0, 1}, {1}, {0, 1}});
  const auto plans = Plan();
  ASSERT_TRUE(plans.ok()) << plans.status();
  ASSERT_EQ(plans->size(), 3u);
  for (const v1::Redistribution& plan : *plans) {
    EXPECT_THAT(plan.files(0).readers(), ElementsAre(0, 2));
    EXPECT_THAT(plan.files(1).readers(), ElementsAre(0, 1, 2));
  }
  const std::map<std::pair<float, float>, int> items = ItemsOf(*plans);
  EXPECT_EQ(items.size(), items_);
  for (const auto& [item, count] : items) EXPECT_EQ(count, 1) << item.first << " " << item.second;
  for (const auto& shard : shards_) EXPECT_GT(shard->table().State().items(), 0u);
}

TEST_F(PlanRedistributionTest, WhereEachSeesItsOwnAloneItKeepsIt) {
  StartShards({{0}, {1}, {}});
  const auto plans = Plan();
  ASSERT_TRUE(plans.ok()) << plans.status();
  EXPECT_THAT((*plans)[0].files(0).readers(), ElementsAre(0));
  EXPECT_THAT((*plans)[0].files(1).readers(), ElementsAre(1));
  EXPECT_EQ(ItemsOf(*plans).size(), items_);
  EXPECT_EQ(shards_[2]->table().State().items(), 0u);
}

TEST_F(PlanRedistributionTest, StepsOfAFileThatNobodyCanReadAreMissing) {
  StartShards({{0}, {}, {}});
  const auto plans = Plan();
  ASSERT_TRUE(plans.ok()) << plans.status();
  EXPECT_THAT((*plans)[0].files(1).readers(), IsEmpty());
  uint64_t steps = 0;
  for (const v1::Redistribution& plan : *plans) steps += plan.state().inserted_steps();
  EXPECT_EQ(steps, manifest_.shards(0).tables(0).inserted_steps());
  EXPECT_EQ(ItemsOf(*plans).size(), items_ / 2);
}

// Its steps once were counted as if they were there.
TEST_F(PlanRedistributionTest, StepsOfAShardThatWasAwayAtTheCheckpointAreMissing) {
  StartShards({{0}, {1}, {}});
  manifest_.mutable_shards(1)->clear_path();
  const auto plans = Plan();
  ASSERT_TRUE(plans.ok()) << plans.status();
  EXPECT_EQ((*plans)[0].files_size(), 1);
  uint64_t steps = 0;
  for (const v1::Redistribution& plan : *plans) steps += plan.state().inserted_steps();
  EXPECT_EQ(steps, manifest_.shards(0).tables(0).inserted_steps());
}

TEST_F(PlanRedistributionTest, AShardAtThePlaceOfAnotherIsNamed) {
  StartShards({{0}, {1}, {}});
  std::swap(addresses_[0], addresses_[1]);
  const absl::Status status = Plan().status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("expected shard 0 at"));
}

// It is the right file to look at, and not only the right name.
TEST_F(PlanRedistributionTest, AFileOfAnotherShardOrRunIsNotTaken) {
  StartShards({{0}, {}, {}});
  std::filesystem::copy(directory_.path() + "/machine-0/0", directory_.path() + "/machine-0/1",
                        std::filesystem::copy_options::recursive);
  auto plans = Plan();
  ASSERT_TRUE(plans.ok()) << plans.status();
  EXPECT_THAT((*plans)[0].files(1).readers(), IsEmpty());
  plans = Plan("another");
  ASSERT_TRUE(plans.ok()) << plans.status();
  EXPECT_THAT((*plans)[0].files(0).readers(), IsEmpty());
}

TEST_F(PlanRedistributionTest, AShardOfAnotherRunIsNamed) {
  StartShards({{0}, {1}, {}});
  ASSERT_TRUE(shards_[1]->shard().CreateTable(MakePeer("another", "learner"), TestSpec()).ok());
  const absl::Status status = Plan().status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat("replay shard 1 at ", addresses_[1])));
}

TEST_F(PlanRedistributionTest, AShardThatComesLateIsWaitedFor) {
  StartShards({{0}, {1}, {}});
  shards_[1]->StopServing();
  std::jthread starting([this] {
    std::this_thread::sleep_for(std::chrono::seconds(1));  // so that it is asked before
    shards_[1]->Serve();
  });
  const auto plans = Plan();
  ASSERT_TRUE(plans.ok()) << plans.status();
  EXPECT_THAT((*plans)[0].files(1).readers(), ElementsAre(1));
}

}  // namespace
}  // namespace headrace
