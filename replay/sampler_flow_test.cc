// How samplers, writers and shards wait for each other: ratios, queues, lockstep.
#include <atomic>
#include <chrono>
#include <future>
#include <set>
#include <thread>

#include "common/grpc_server.h"
#include "common/test_directory.h"
#include "gmock/gmock.h"
#include "grpcpp/support/server_callback.h"
#include "gtest/gtest.h"
#include "proto/replay.grpc.pb.h"
#include "replay/sampler.h"
#include "replay/service_testing.h"
#include "replay/testing.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;

TEST(SamplerFlowTest, WritersAndUpdatesKeepTheRatioOverSeveralShards) {
  for (const double updates_per_step : {0.1, 1.0, 3.7}) {
    const TestDirectory directory;
    TestShard first(0);
    TestShard second(1, directory.path(), /*journal=*/true);  // which tells of steps later than it takes them
    TestBatches batches({first.address(), second.address()}, 8, 2);
    batches.options.table.set_initial_insert_limit(0);
    batches.options.ratio = {.updates_per_step = updates_per_step, .min_steps = 20, .lead_steps = 4};
    const std::unique_ptr<ReplaySampler> sampler = StartSampler(batches);
    std::vector<std::unique_ptr<ReplayWriter>> writers;
    std::vector<std::thread> actors;
    for (uint64_t id = 1; id <= 3; ++id) {
      ReplayWriterOptions options = TestWriterOptions(id == 1 ? first.address() : second.address(), id);
      options.chunk_rows = 1;
      options.window_bytes = 1;
      writers.push_back(StartWriter(options));
      actors.emplace_back([id, writer = writers.back().get()] {
        EpisodeWriter episodes(writer);
        absl::Status status;
        while (status.ok()) status = episodes.WriteStep(static_cast<uint32_t>(id));
        EXPECT_TRUE(absl::IsCancelled(status)) << status;
      });
    }
    for (uint64_t update = 1; update <= 300; ++update) {
      const absl::StatusOr<ReplaySampler::Filled> filled = sampler->Next(Soon());
      ASSERT_TRUE(filled.ok()) << filled.status() << ", update " << update << " at " << updates_per_step;
      EXPECT_GE(sampler->env_steps(), batches.options.ratio.StepsNeeded(update));
      sampler->Done(filled->slot, update);
    }
    for (const auto& writer : writers) writer->Cancel();
    for (std::thread& actor : actors) actor.join();
  }
}

// One samples uniformly and one by priority; the steps are stored once, and wait for both.
TEST(SamplerFlowTest, TwoSamplersOverTheSameRowsBothKeepTheirRatio) {
  TestShard shard;
  TestBatches uniform({shard.address()}, 16, 3);
  uniform.options.table.set_initial_insert_limit(0);
  uniform.options.ratio = {.updates_per_step = 0.5, .lead_steps = 100};
  TestBatches prioritised({shard.address()}, 16, 3);
  prioritised.options.table = SpecOver("prioritised");
  prioritised.options.table.set_sampler(v1::PROPORTIONAL);
  prioritised.options.table.set_initial_insert_limit(0);
  prioritised.options.ratio = {.updates_per_step = 0.25, .lead_steps = 50};
  // The one that comes first waits for the table whose rows it is over.
  const std::unique_ptr<ReplaySampler> by_priority = StartSampler(prioritised);
  const std::unique_ptr<ReplaySampler> by_chance = StartSampler(uniform);
  std::thread actor([&] {
    ReplayWriterOptions options = TestWriterOptions(shard.address());
    options.others = {{"prioritised", {.rows = 2, .stride = 3}}};
    const std::unique_ptr<ReplayWriter> writer = StartWriter(options);
    EpisodeWriter episodes(writer.get());
    // 828 steps: enough for the updates, and no more than the last of them grants.
    for (uint32_t i = 0; i < 140; ++i) ASSERT_TRUE(episodes.Write(i % 4, 1 + i % 11).ok());
    ASSERT_TRUE(writer->Drain(Soon()).ok());
  });
  const auto update = [](ReplaySampler& sampler, const TestBatches& batches, uint64_t number, bool every_third) {
    const absl::StatusOr<ReplaySampler::Filled> filled = sampler.Next(Soon());
    ASSERT_TRUE(filled.ok()) << filled.status();
    std::vector<float> priorities;
    for (uint32_t i = 0; i < 16; ++i)
      priorities.push_back(1 + static_cast<float>(batches.Check(filled->slot, i).second));
    if (every_third) sampler.UpdatePriorities(filled->slot, priorities);
    sampler.Done(filled->slot, number);
  };
  for (uint64_t number = 1; number <= 200; ++number) {
    update(*by_chance, uniform, 2 * number - 1, false);
    update(*by_chance, uniform, 2 * number, false);
    update(*by_priority, prioritised, number, true);
    // No more steps than the leads of both and a chunk of 16 allow; at first, while there are steps without an item of
    // a table, each grants its lead anew.
    if (number < 30) continue;
    EXPECT_LE(by_chance->stats().env_steps, 4 * number + 50 + 16);
    EXPECT_LE(by_priority->stats().env_steps, 4 * number + 50 + 16);
  }
  actor.join();
  EXPECT_EQ(shard.table().State().inserted_steps(), 828u);
  EXPECT_EQ(shard.table().State().items(), 828u);
  const v1::TableState state = shard.shard().Tables().at(1)->State();
  EXPECT_EQ(state.inserted_steps(), 828u);
  // Of an episode of n steps, one for every three.
  EXPECT_EQ(state.items(), 12u * (1 + 1 + 1 + 2 + 2 + 2 + 3 + 3 + 3 + 4 + 4) + (1 + 1 + 1 + 2 + 2 + 2 + 3 + 3));
  EXPECT_GT(state.max_priority(), 1);
  EXPECT_EQ(shard.table().State().max_priority(), 1);
}

TEST(SamplerFlowTest, AQueueOverTwoShardsGivesEachItemOnce) {
  TestShard first(0);
  TestShard second(1);
  TestBatches batches({first.address(), second.address()}, 10, 2);
  batches.options.table.set_sampler(v1::FIRST_IN_FIRST_OUT);
  batches.options.table.set_max_times_sampled(1);
  batches.options.table.set_initial_insert_limit(0);
  batches.options.ratio = {.updates_per_step = 0.1, .lead_steps = 40};
  const std::unique_ptr<ReplaySampler> sampler = StartSampler(batches);
  std::vector<std::thread> actors;
  for (uint64_t id = 1; id <= 2; ++id) {
    actors.emplace_back([&, id] {
      const std::unique_ptr<ReplayWriter> writer =
          StartWriter(TestWriterOptions(id == 1 ? first.address() : second.address(), id));
      EpisodeWriter episodes(writer.get());
      ASSERT_TRUE(episodes.Write(static_cast<uint32_t>(id), 500).ok());
      ASSERT_TRUE(writer->Drain(Soon()).ok());
    });
  }
  std::set<std::pair<uint32_t, uint64_t>> seen;
  for (int update = 1; update <= 100; ++update) {
    const absl::StatusOr<ReplaySampler::Filled> filled = sampler->Next(Soon());
    ASSERT_TRUE(filled.ok()) << filled.status() << ", update " << update;
    for (uint32_t i = 0; i < 10; ++i) EXPECT_TRUE(seen.insert(batches.Check(filled->slot, i)).second);
    sampler->Done(filled->slot, update);
  }
  for (std::thread& actor : actors) actor.join();
  EXPECT_EQ(seen.size(), 1000u);
}

TEST(SamplerFlowTest, GrantsMoreStepsWhileThereAreNoItems) {
  TestShard shard;
  TestBatches batches({shard.address()}, 4, 2);
  batches.options.table.set_initial_insert_limit(0);
  batches.options.table.set_max_item_rows(8);
  batches.options.ratio = {.updates_per_step = 1, .lead_steps = 2};
  const std::unique_ptr<ReplaySampler> sampler = StartSampler(batches);
  ReplayWriterOptions options = TestWriterOptions(shard.address());
  options.pattern = {.rows = 8, .stride = 8};
  options.chunk_rows = 1;
  const std::unique_ptr<ReplayWriter> writer = StartWriter(options);
  std::thread actor([&] {
    EpisodeWriter episodes(writer.get());
    for (int step = 0; step < 8; ++step) {
      for (uint32_t lane = 0; lane < 3; ++lane) episodes.WriteStep(lane).IgnoreError();
    }
    writer->Drain(Soon()).IgnoreError();
  });
  const absl::StatusOr<ReplaySampler::Filled> filled = sampler->Next(Soon());
  EXPECT_TRUE(filled.ok()) << filled.status();
  writer->Cancel();
  actor.join();
}

// A queue that has items, but fewer than a batch, and a ratio that allows no more steps.
TEST(SamplerFlowTest, GrantsMoreStepsWhileAQueueHoldsLessThanABatch) {
  TestShard shard;
  TestBatches batches({shard.address()}, 4, 1);
  batches.options.table.set_sampler(v1::FIRST_IN_FIRST_OUT);
  batches.options.table.set_max_times_sampled(1);
  batches.options.table.set_initial_insert_limit(4);
  batches.options.ratio = {.updates_per_step = 0.25, .lead_steps = 0};
  ASSERT_TRUE(shard.shard().CreateTable(batches.options.peer, batches.options.table).ok());
  const std::unique_ptr<ReplayWriter> writer = StartWriter(TestWriterOptions(shard.address()));
  EpisodeWriter episodes(writer.get());
  for (int step = 0; step < 4; ++step) ASSERT_TRUE(episodes.WriteStep(0).ok());
  ASSERT_TRUE(writer->Drain(Soon()).ok());
  ASSERT_EQ(shard.table().State().items(), 3u);
  const std::unique_ptr<ReplaySampler> sampler = StartSampler(batches);
  std::thread actor([&] { episodes.WriteStep(0).IgnoreError(); });
  const absl::StatusOr<ReplaySampler::Filled> filled = sampler->Next(Soon());
  EXPECT_TRUE(filled.ok()) << filled.status();
  writer->Cancel();
  actor.join();
}

// One run of a learner and an actor in lockstep: what every batch held.
std::string LockstepRun(uint64_t seed) {
  TestShard shard;
  TestBatches batches({shard.address()}, 16, 2);
  batches.options.seed = seed;
  batches.options.table.set_lockstep(true);
  batches.options.table.set_initial_insert_limit(0);
  batches.options.table.set_max_items(50);
  batches.options.ratio = {.updates_per_step = 0.5, .min_steps = 10};
  const std::unique_ptr<ReplaySampler> sampler = StartSampler(batches);
  ReplayWriterOptions options = TestWriterOptions(shard.address());
  options.lockstep = true;
  const std::unique_ptr<ReplayWriter> writer = StartWriter(options);
  std::thread actor([&] {
    EpisodeWriter episodes(writer.get());
    absl::Status status;
    for (uint32_t episode = 0; status.ok(); ++episode) status = episodes.Write(0, 1 + episode % 7);
    EXPECT_TRUE(absl::IsCancelled(status)) << status;
  });
  std::string bytes;
  for (uint64_t update = 1; update <= 52; ++update) {
    const absl::StatusOr<ReplaySampler::Filled> filled = sampler->Next(Soon());
    EXPECT_TRUE(filled.ok()) << filled.status();
    bytes += batches.Bytes(filled->slot);
    sampler->Done(filled->slot, update);
  }
  writer->Cancel();
  actor.join();
  return bytes;
}

TEST(SamplerFlowTest, LockstepGivesTheSameBytesTwice) {
  const std::string first = LockstepRun(3);
  EXPECT_TRUE(first == LockstepRun(3));
  EXPECT_FALSE(first == LockstepRun(4));
}

TEST(SamplerFlowTest, SaysWhatItWaitsForAndCanBeCancelled) {
  TestBatches nobody({"127.0.0.1:1"}, 4, 1);
  const std::unique_ptr<ReplaySampler> alone = StartSampler(nobody);
  EXPECT_THAT(alone->Next(Now()).status().message(), HasSubstr("none is connected"));
  EXPECT_FALSE(alone->WaitConnected(Now()));
  std::thread waiting([&] { EXPECT_TRUE(absl::IsCancelled(alone->Next(Soon()).status())); });
  alone->Cancel();
  waiting.join();

  TestShard shard;
  TestBatches batches({shard.address()}, 4, 1);
  batches.options.ratio.min_steps = 100;
  const std::unique_ptr<ReplaySampler> sampler = StartSampler(batches);
  ASSERT_TRUE(sampler->WaitConnected(Soon()));
  EXPECT_THAT(sampler->Next(Now()).status().message(),
              HasSubstr("actors: 0 environment steps inserted, the next update needs 101"));
}

// A shard that takes calls and never answers; says when one has come and when it was cancelled.
class SilentShard final : public v1::Replay::WithCallbackMethod_CreateTable<v1::Replay::Service> {
 public:
  grpc::ServerUnaryReactor* CreateTable(grpc::CallbackServerContext* context, const v1::CreateTableRequest*,
                                        v1::CreateTableResponse*) override {
    class Reactor final : public grpc::ServerUnaryReactor {
     public:
      Reactor(SilentShard* shard, std::chrono::system_clock::time_point deadline)
          : shard_(shard), deadline_(deadline) {}
      void OnCancel() override {
        // The peer's clock may be a little behind.
        shard_->cancelled_in_time = std::chrono::system_clock::now() + std::chrono::seconds(1) < deadline_;
        Finish(grpc::Status::CANCELLED);
      }
      void OnDone() override { delete this; }

     private:
      SilentShard* const shard_;
      const std::chrono::system_clock::time_point deadline_;
    };
    std::call_once(once_, [this] { called.set_value(); });
    return new Reactor(this, context->deadline());
  }

  std::promise<void> called;
  std::atomic<bool> cancelled_in_time = false;

 private:
  std::once_flag once_;
};

TEST(SamplerFlowTest, EndsWithoutWaitingForShardsThatDoNotAnswer) {
  SilentShard shards[2];
  std::vector<std::unique_ptr<GrpcServer>> servers;
  for (SilentShard& shard : shards) servers.push_back(*GrpcServer::Start("127.0.0.1:0", {&shard}));
  {
    TestBatches batches({servers[0]->address(), servers[1]->address()}, 4, 1);
    const std::unique_ptr<ReplaySampler> sampler = StartSampler(batches);
    for (SilentShard& shard : shards) shard.called.get_future().wait();
  }
  servers.clear();
  for (const SilentShard& shard : shards) EXPECT_TRUE(shard.cancelled_in_time) << "its deadline ended the call";
}

// As in a run whose only shard dies before its first checkpoint.
TEST(SamplerFlowTest, DrawsNothingFromFewerStepsThanUpdatesBeginWith) {
  TestShard shard;
  Fill(shard, 1, 0, 99);  // 100 steps
  TestBatches batches({shard.address()}, 4, 1);
  batches.options.ratio = {.updates_per_step = 1000, .min_steps = 50};
  const std::unique_ptr<ReplaySampler> sampler = StartSampler(batches);
  absl::StatusOr<ReplaySampler::Filled> filled = sampler->Next(Soon());
  ASSERT_TRUE(filled.ok()) << filled.status();
  sampler->Done(filled->slot, 1);
  shard.Restart();
  // A batch of the life before may lie ready; only when it is gone the next one is asked for, and lacks its items.
  do {
    filled = sampler->Next(Now() + std::chrono::milliseconds(20));
    if (filled.ok()) sampler->Done(filled->slot, 1);
  } while (filled.ok() || sampler->stats().lost_steps == 0);
  EXPECT_EQ(sampler->stats().lost_steps, 100u);
  EXPECT_THAT(sampler->stats().waiting_for,
              HasSubstr("items: of the 50 steps that updates begin with, the replay shards have lost 50"));
  while (shard.table().State().insert_limit() < 50) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  Fill(shard, 2, 1, 48);  // 49 steps
  EXPECT_TRUE(absl::IsDeadlineExceeded(sampler->Next(Now() + std::chrono::milliseconds(100)).status()));
  Fill(shard, 3, 2, 1);  // 51
  filled = sampler->Next(Soon());
  EXPECT_TRUE(filled.ok()) << filled.status();
}

// The learner is asked for its next step only when it has a few to give: otherwise each update costs a message.
TEST(SamplerFlowTest, StepsAreGrantedSeveralAtATimeWhileTheLearnerHasEnough) {
  TestShard shard;
  TestBatches batches({shard.address()}, 4, 1);
  batches.options.table.set_initial_insert_limit(0);
  batches.options.ratio = {.updates_per_step = 1, .min_steps = 10, .lead_steps = 80};
  const std::unique_ptr<ReplaySampler> sampler = StartSampler(batches);
  const std::unique_ptr<ReplayWriter> writer = StartWriter(TestWriterOptions(shard.address()));
  std::thread actor([&] {
    EpisodeWriter episodes(writer.get());
    absl::Status status;
    while (status.ok()) status = episodes.Write(0, 5);
  });
  std::set<uint64_t> limits;
  for (uint64_t update = 1; update <= 200; ++update) {
    const absl::StatusOr<ReplaySampler::Filled> filled = sampler->Next(Soon());
    ASSERT_TRUE(filled.ok()) << filled.status();
    // The actor is ahead, and waits.
    while (shard.table().State().blocked_writers() == 0) {
    }
    limits.insert(shard.table().State().insert_limit());
    sampler->Done(filled->slot, update);
  }
  writer->Cancel();
  actor.join();
  EXPECT_LE(limits.size(), 200u / 10 + 2);
  EXPECT_GE(limits.size(), 10u);
}

TEST(SamplerFlowTest, GoesOnWhereAResumedRunWas) {
  TestShard shard;
  Fill(shard, 1, 0, 50);  // 51 steps
  TestBatches batches({shard.address()}, 4, 1);
  batches.options.ratio = {.updates_per_step = 1, .lead_steps = 10};
  batches.options.env_steps = 1040;  // of which this shard had told 40
  batches.options.batches = 1045;
  batches.options.states.emplace_back();
  batches.options.states[0].set_inserted_steps(40);
  batches.options.states[0].set_incarnation(1);
  batches.options.states[0].set_table("t");
  const std::unique_ptr<ReplaySampler> sampler = StartSampler(batches);
  for (uint64_t batch = 1046; batch <= 1051; ++batch) {
    const absl::StatusOr<ReplaySampler::Filled> filled = sampler->Next(Soon());
    ASSERT_TRUE(filled.ok()) << filled.status();
    EXPECT_EQ(filled->batch, batch);
    sampler->Done(filled->slot, batch);
  }
  EXPECT_EQ(sampler->env_steps(), 1051u);
  EXPECT_THAT(sampler->Next(Now()).status().message(), HasSubstr("the next update needs 1052"));
}

}  // namespace
}  // namespace headrace
