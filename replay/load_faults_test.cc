// Writers and samplers at work while connections are cut, shards begin new lives, and a writer dies: what came of it is
// counted to the last step.
#include <atomic>
#include <chrono>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/protocol.h"
#include "common/test_directory.h"
#include "gtest/gtest.h"
#include "replay/checkpoint.h"
#include "replay/service_testing.h"

namespace headrace {
namespace {

constexpr uint32_t kWriters = 4;
constexpr uint32_t kSteps = 9;  // of an episode

// The step that a row says it is: (writer, row). Each writer has one lane, of its own number.
using Step = std::pair<uint32_t, uint64_t>;

// How often each step is in the shard, as the first row of a transition.
void CountSteps(Table& table, std::map<Step, int>& steps) {
  const Table::Snapshot snapshot = table.TakeSnapshot();
  const size_t observation = table.layout().columns()[table.layout().Find("observation")].offset;
  for (const Item& item : snapshot.tables[0].items) {
    float says[2];
    std::memcpy(says, table.rows().Row(item.first_row) + observation, sizeof(says));
    ++steps[{static_cast<uint32_t>(says[0]), static_cast<uint64_t>(says[1])}];
  }
}

class LoadFaultsTest : public testing::Test {
 protected:
  // Two shards, each with half of the writers and both of the samplers.
  void Start(bool journal) {
    for (uint32_t number = 0; number < 2; ++number) {
      directories_[number] = directory_.path() + "/" + std::to_string(number);
      shards_.push_back(std::make_unique<TestShard>(number, directories_[number], journal));
      ASSERT_TRUE(shards_[number]->shard().CreateTable(MakePeer("run", "learner"), spec_).ok());
    }
    for (uint32_t id = 0; id < kWriters; ++id) {
      writers_.push_back(StartWriter(TestWriterOptions(shards_[id % 2]->address(), id + 1)));
    }
    for (uint32_t id = 0; id < kWriters; ++id) threads_.emplace_back([this, id] { WriteEpisodes(id); });
    for (uint64_t seed = 1; seed <= 2; ++seed) threads_.emplace_back([this, seed] { SampleBatches(seed); });
  }

  void WriteEpisodes(uint32_t id) {
    EpisodeWriter episodes(writers_[id].get());
    while (!(id == 0 ? writer_dies_ : done_)) {
      const absl::Status status = episodes.Write(id, kSteps, v1::TRUNCATED);
      if (!status.ok()) {
        ADD_FAILURE() << "writer " << id << ": " << status;
        return;
      }
      ++episodes_[id];
      std::this_thread::sleep_for(std::chrono::milliseconds(1));  // the tables have place for all
    }
  }

  void SampleBatches(uint64_t seed) {
    TestBatches batches({shards_[0]->address(), shards_[1]->address()}, 32, 2);
    batches.options.table = spec_;
    batches.options.seed = seed;
    batches.options.ratio.held = false;
    const std::unique_ptr<ReplaySampler> sampler = StartSampler(batches);
    for (uint64_t update = 1; !done_; ++update) {
      const absl::StatusOr<ReplaySampler::Filled> filled = sampler->Next(Soon());
      if (!filled.ok()) {
        ADD_FAILURE() << "sampler " << seed << ": " << filled.status();
        return;
      }
      for (uint32_t i = 0; i < 32; ++i) EXPECT_LT(batches.Check(filled->slot, i).first, kWriters);
      sampler->Done(filled->slot, update);
      ++batches_;
    }
  }

  // Until everybody has gone on since: what is broken next is broken at work.
  void LetWork() {
    const uint64_t batches = batches_ + 20;
    std::vector<uint64_t> episodes;
    for (uint32_t id = 0; id < kWriters; ++id) episodes.push_back(episodes_[id] + 3);
    const auto all_have = [&] {
      for (uint32_t id = 0; id < kWriters; ++id) {
        if (episodes_[id] < episodes[id] && !(id == 0 && writer_dies_)) return false;
      }
      return batches_ >= batches;
    };
    const auto end = Soon();
    while (!all_have()) {
      ASSERT_LT(std::chrono::steady_clock::now(), end) << "somebody does not go on";
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  // In mid-episode, with what it has not been acknowledged.
  void LetWriterDie() {
    writer_dies_ = true;
    threads_[0].join();
    ASSERT_TRUE(writers_[0]->Drain(Soon()).ok());
    // Of this episode, which goes on, it does not wait to hear anything.
    for (uint64_t step = 0; step < kSteps; ++step) {
      const TestRow row(0, episodes_[0] * (kSteps + 1) + step);
      writers_[0]->Append(0, row.columns(), v1::NOT_ENDED);
    }
    (void)writers_[0]->Send(Now());
    writers_[0].reset();
  }

  void Finish() {
    done_ = true;
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
    for (const std::unique_ptr<ReplayWriter>& writer : writers_) {
      if (writer != nullptr) EXPECT_TRUE(writer->Drain(Soon()).ok());
    }
  }

  // Of all writers that live every step is there once; of the one that died, what it was acknowledged, and none twice.
  void ExpectEveryStepOnce() {
    std::map<Step, int> steps;
    for (const std::unique_ptr<TestShard>& shard : shards_) CountSteps(shard->table(), steps);
    for (const auto& [step, times] : steps) {
      ASSERT_EQ(times, 1) << "writer " << step.first << ", row " << step.second;
    }
    uint64_t expected = 0;
    for (uint32_t id = 1; id < kWriters; ++id) {
      for (uint64_t episode = 0; episode < episodes_[id]; ++episode) {
        for (uint64_t step = 0; step < kSteps; ++step, ++expected) {
          ASSERT_TRUE(steps.contains({id, episode * (kSteps + 1) + step}))
              << "writer " << id << ", step " << step << " of episode " << episode << " of " << episodes_[id];
        }
      }
    }
    const uint64_t of_dead = steps.size() - expected, acknowledged = episodes_[0] * kSteps;
    EXPECT_GE(of_dead, acknowledged);
    EXPECT_LE(of_dead, acknowledged + kSteps);
    EXPECT_GT(expected, 500u) << "there was no load";
  }

  const v1::TableSpec spec_ = [] {
    v1::TableSpec spec = TestSpec();
    spec.set_max_bytes(60 << 20);
    return spec;
  }();
  const TestDirectory directory_;
  std::string directories_[2];
  std::vector<std::unique_ptr<TestShard>> shards_;
  std::vector<std::unique_ptr<ReplayWriter>> writers_;
  std::atomic<bool> done_ = false, writer_dies_ = false;
  std::atomic<uint64_t> episodes_[kWriters] = {};  // that have been written
  std::atomic<uint64_t> batches_ = 0;
  std::vector<std::thread> threads_;  // first the writers'
};

TEST_F(LoadFaultsTest, WhileTheShardsLiveNothingIsLostOrDoubled) {
  Start(/*journal=*/false);
  for (int round = 0; round < 8; ++round) {
    LetWork();
    if (round == 4) LetWriterDie();
    TestShard& shard = *shards_[round % 2];
    shard.StopServing();
    shard.Serve();
  }
  Finish();
  ExpectEveryStepOnce();
}

TEST_F(LoadFaultsTest, WithAJournalNothingIsLostOrDoubledOverTheirDeathsEither) {
  Start(/*journal=*/true);
  for (int round = 0; round < 8; ++round) {
    LetWork();
    if (round == 4) LetWriterDie();
    TestShard& shard = *shards_[round % 2];
    v1::CheckpointRequest request;
    request.set_name(absl::StrCat("round-", round));
    request.set_keep(2);
    if (round % 4 < 2) {
      const auto written = WriteCheckpoint(shard.shard(), directories_[round % 2], request);
      ASSERT_TRUE(written.ok()) << written.status();
    }
    shard.Restart();
  }
  Finish();
  ExpectEveryStepOnce();
}

}  // namespace
}  // namespace headrace
