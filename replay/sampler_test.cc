// Samplers and writers around real shards.
#include "replay/sampler.h"

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <set>
#include <thread>

#include "common/grpc_server.h"
#include "common/protocol.h"
#include "common/test_directory.h"
#include "gmock/gmock.h"
#include "grpcpp/support/server_callback.h"
#include "gtest/gtest.h"
#include "proto/replay.grpc.pb.h"
#include "replay/service_testing.h"
#include "replay/testing.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;

std::unique_ptr<ReplayWriter> StartWriter(const ReplayWriterOptions& options) {
  absl::StatusOr<std::unique_ptr<ReplayWriter>> writer = ReplayWriter::Start(options);
  EXPECT_TRUE(writer.ok()) << writer.status();
  return *std::move(writer);
}

TEST(SamplerTest, GivesTheTransitionsThatWereWritten) {
  TestShard shard;
  TestBatches batches({shard.address()}, 64, 3);
  batches.options.table.set_initial_insert_limit(0);
  batches.options.ratio = {.updates_per_step = 0.5, .lead_steps = 100};
  const std::unique_ptr<ReplaySampler> sampler = StartSampler(batches);
  std::thread actor([&] {
    const std::unique_ptr<ReplayWriter> writer = StartWriter(TestWriterOptions(shard.address()));
    EpisodeWriter episodes(writer.get());
    // Several lanes, episodes of 1 to 11 steps, all ends.
    for (uint32_t i = 0; i < 150; ++i) {
      const v1::EpisodeEnd ends[] = {v1::TERMINATED, v1::TRUNCATED, v1::INTERRUPTED};
      ASSERT_TRUE(episodes.Write(i % 4, 1 + i % 11, ends[i % 3]).ok());
    }
    ASSERT_TRUE(writer->Drain(Soon()).ok());
  });
  for (int update = 1; update <= 400; ++update) {
    const absl::StatusOr<ReplaySampler::Filled> filled = sampler->Next(Soon());
    ASSERT_TRUE(filled.ok()) << filled.status();
    EXPECT_EQ(filled->batch, static_cast<uint64_t>(update));
    for (uint32_t i = 0; i < 64; ++i) EXPECT_LT(batches.Check(filled->slot, i).first, 4u);
    const ReplaySampler::Stats stats = sampler->stats();
    // The ratio holds both ways: an update for every two steps; no more steps than the lead and a chunk of 16 allow.
    EXPECT_GE(stats.env_steps, 2u * update);
    EXPECT_LE(stats.env_steps, 2u * update + 100 + 16);
    sampler->Done(filled->slot, update);
  }
  actor.join();
}

TEST(SamplerTest, WithoutReplacementABatchWaitsUntilThereAreAsManyItems) {
  TestShard first(0);
  TestShard second(1);
  Fill(first, 1, 0, 10);
  Fill(second, 2, 1, 5);
  TestBatches batches({first.address(), second.address()}, 16, 1);
  batches.options.without_replacement = true;
  batches.options.ratio = {.updates_per_step = 1000};
  const std::unique_ptr<ReplaySampler> sampler = StartSampler(batches);
  ASSERT_TRUE(sampler->WaitConnected(Soon()));
  EXPECT_THAT(sampler->Next(Now()).status().message(),
              HasSubstr("a batch without replacement needs 16, and the replay shards have 15"));
  Fill(second, 3, 2, 1);
  const absl::StatusOr<ReplaySampler::Filled> filled = sampler->Next(Soon());
  ASSERT_TRUE(filled.ok()) << filled.status();
  std::set<std::pair<uint32_t, uint64_t>> seen;
  for (uint32_t i = 0; i < 16; ++i) EXPECT_TRUE(seen.insert(batches.Check(filled->slot, i)).second);
}

// What a shard that died owed is drawn together with the rest, or the two parts might have items in common.
TEST(SamplerTest, WithoutReplacementNoItemComesTwiceWhileShardsDie) {
  TestShard first(0);
  TestShard second(1);
  Fill(first, 1, 0, 60);
  Fill(second, 2, 1, 60);
  TestBatches batches({first.address(), second.address()}, 50, 4);
  batches.options.without_replacement = true;
  batches.options.ratio = {.updates_per_step = 100000};
  const std::unique_ptr<ReplaySampler> sampler = StartSampler(batches);
  ASSERT_TRUE(sampler->WaitConnected(Soon()));
  for (int life = 0; life < 5; ++life) {
    bool both = false;
    for (int k = 0; k < 20 || !both; ++k) {
      ASSERT_LT(k, 100000) << "the second shard does not rejoin";
      const absl::StatusOr<ReplaySampler::Filled> filled = sampler->Next(Soon());
      ASSERT_TRUE(filled.ok()) << filled.status();
      std::set<std::pair<uint32_t, uint64_t>> seen;
      std::set<uint32_t> lanes;
      for (uint32_t i = 0; i < 50; ++i) {
        seen.insert(batches.Check(filled->slot, i));
        lanes.insert(batches.Check(filled->slot, i).first);
      }
      ASSERT_EQ(seen.size(), 50u);
      both = lanes.size() == 2;
      sampler->Done(filled->slot, 0);
      if (k == 5) second.StopServing();
      if (k == 10) second.Serve();
    }
  }
}

TEST(SamplerTest, PrioritiesReachTheItemsTheyAreOf) {
  std::vector<std::unique_ptr<TestShard>> shards;
  std::vector<std::string> addresses;
  v1::TableSpec spec = TestSpec();
  spec.set_sampler(v1::PROPORTIONAL);
  for (uint32_t i = 0; i < 2; ++i) {
    shards.push_back(std::make_unique<TestShard>(i));
    ASSERT_TRUE(shards[i]->shard().CreateTable(MakePeer("run", "learner"), spec).ok());
    TestWriter writer(&shards[i]->table(), i + 1);
    writer.Append(i, 11);
    ASSERT_TRUE(writer.Insert().ok());
    addresses.push_back(shards[i]->address());
  }
  TestBatches batches(addresses, 16, 1);
  batches.options.table = spec;
  batches.options.ratio = {.updates_per_step = 1000};
  const std::unique_ptr<ReplaySampler> sampler = StartSampler(batches);
  ASSERT_TRUE(sampler->WaitConnected(Soon()));
  // Only row 3 of shard 0 is left with a priority that counts.
  const auto priority = [](uint32_t lane, uint64_t row) { return lane == 0 && row == 3 ? 1.0f : 1e-20f; };
  const auto only_that = [&](const ReplaySampler::Filled& filled) {
    for (uint32_t i = 0; i < 16; ++i) {
      if (batches.Check(filled.slot, i) != std::pair<uint32_t, uint64_t>{0, 3}) return false;
    }
    return true;
  };
  // They are on their way while more batches are drawn.
  for (bool reached = false; !reached;) {
    const absl::StatusOr<ReplaySampler::Filled> filled = sampler->Next(Soon());
    ASSERT_TRUE(filled.ok()) << filled.status();
    std::vector<float> priorities;
    for (uint32_t i = 0; i < 16; ++i) {
      const auto [lane, row] = batches.Check(filled->slot, i);
      priorities.push_back(priority(lane, row));
    }
    sampler->UpdatePriorities(filled->slot, priorities);
    reached = only_that(*filled);
    sampler->Done(filled->slot, 0);
  }
}

TEST(SamplerTest, AShardThatDiesShrinksTheTableAndOneThatReturnsRejoins) {
  TestDirectory directory;
  TestShard first(0);
  TestShard second(1);
  Fill(first, 1, 0, 100);
  Fill(second, 2, 1, 100);
  TestBatches batches({first.address(), second.address()}, 50, 3);
  batches.options.ratio = {.updates_per_step = 1000};
  const std::unique_ptr<ReplaySampler> sampler = StartSampler(batches);
  ASSERT_TRUE(sampler->WaitConnected(Soon()));
  // Draws until a batch is of exactly these lanes, which how many it takes depends on how long a shard is away.
  const auto draw_until = [&](bool of_first, bool of_second) {
    while (true) {
      const absl::StatusOr<ReplaySampler::Filled> filled = sampler->Next(Soon());
      ASSERT_TRUE(filled.ok()) << filled.status();
      bool seen[2] = {};
      for (uint32_t k = 0; k < 50; ++k) seen[batches.Check(filled->slot, k).first] = true;
      sampler->Done(filled->slot, 0);
      if (seen[0] == of_first && seen[1] == of_second) return;
    }
  };
  for (int life = 0; life < 3; ++life) {
    draw_until(true, true);
    second.StopServing();
    draw_until(true, false);
    EXPECT_EQ(sampler->stats().connected_shards, 1u);
    EXPECT_EQ(sampler->stats().items, 100u);
    second.Serve();
  }
  draw_until(true, true);
  EXPECT_EQ(sampler->stats().lost_steps, 0u);
  // Without a checkpoint it comes back empty: its 101 steps are lost, and counted.
  second.Restart();
  ASSERT_TRUE(sampler->WaitConnected(Soon()));
  draw_until(true, false);
  while (sampler->stats().lost_steps == 0) draw_until(true, false);
  EXPECT_EQ(sampler->stats().lost_steps, 101u);
  EXPECT_EQ(sampler->env_steps(), 202u);
}

TEST(SamplerTest, WritersAndUpdatesKeepTheRatioOverSeveralShards) {
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
TEST(SamplerTest, TwoSamplersOverTheSameRowsBothKeepTheirRatio) {
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

TEST(SamplerTest, AQueueOverTwoShardsGivesEachItemOnce) {
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

// Steps become items late: nothing for the first 7 rows of each of 3 lanes. The ratio alone would allow no more steps.
TEST(SamplerTest, ItemsOfABatchCanBeDrawnAnew) {
  TestShard shard;
  TestBatches batches({shard.address()}, 4, 1);
  batches.options.table.set_sampler(v1::FIRST_IN_FIRST_OUT);
  batches.options.table.set_max_times_sampled(1);
  batches.options.ratio.held = false;
  ASSERT_TRUE(shard.shard().CreateTable(MakePeer("run", "learner"), batches.options.table).ok());
  TestWriter writer(&shard.table(), 7);
  writer.Append(0, 7);  // items from rows 0 to 5
  ASSERT_TRUE(writer.Insert().ok());
  const std::unique_ptr<ReplaySampler> sampler = StartSampler(batches);
  const auto rows = [&](size_t slot) {
    std::vector<uint64_t> all;
    for (uint32_t i = 0; i < 4; ++i) all.push_back(batches.Check(slot, i).second);
    return all;
  };
  absl::StatusOr<ReplaySampler::Filled> filled = sampler->Next(Soon());
  ASSERT_TRUE(filled.ok()) << filled.status();
  EXPECT_THAT(rows(filled->slot), testing::ElementsAre(0, 1, 2, 3));
  const std::vector<uint32_t> again = {0, 2, 3};
  sampler->Redraw(*filled, again);
  // Two of three are there: the batch waits for the third.
  EXPECT_TRUE(absl::IsDeadlineExceeded(sampler->Next(std::chrono::steady_clock::now()).status()));
  writer.Append(0, 1);
  ASSERT_TRUE(writer.Insert().ok());
  const uint64_t batch = filled->batch;
  filled = sampler->Next(Soon());
  ASSERT_TRUE(filled.ok()) << filled.status();
  EXPECT_EQ(filled->batch, batch);
  std::vector<uint64_t> drawn = rows(filled->slot);
  EXPECT_EQ(drawn[1], 1u);
  std::sort(drawn.begin(), drawn.end());
  EXPECT_THAT(drawn, testing::ElementsAre(1, 4, 5, 6));
  sampler->Done(filled->slot, 1);
}

TEST(SamplerTest, GrantsMoreStepsWhileThereAreNoItems) {
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
TEST(SamplerTest, GrantsMoreStepsWhileAQueueHoldsLessThanABatch) {
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

TEST(SamplerTest, LockstepGivesTheSameBytesTwice) {
  const std::string first = LockstepRun(3);
  EXPECT_TRUE(first == LockstepRun(3));
  EXPECT_FALSE(first == LockstepRun(4));
}

TEST(SamplerTest, SaysWhatItWaitsForAndCanBeCancelled) {
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

TEST(SamplerTest, EndsWithoutWaitingForShardsThatDoNotAnswer) {
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

TEST(SamplerTest, IsToldWhyItIsRefused) {
  TestShard shard;
  Fill(shard, 1, 0, 10);
  const auto refusal = [&](const std::function<void(ReplaySamplerOptions&)>& change) {
    TestBatches batches({shard.address()}, 4, 1);
    change(batches.options);
    const absl::StatusOr<std::unique_ptr<ReplaySampler>> sampler = ReplaySampler::Start(batches.options);
    return sampler.ok() ? (*sampler)->Next(Soon()).status() : sampler.status();
  };
  absl::Status status = refusal([](auto& options) { options.peer = MakePeer("other", "learner"); });
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(status.message(), HasSubstr("belongs to run other"));
  status = refusal([](auto& options) { options.table.set_max_items(5); });
  EXPECT_THAT(status.message(), HasSubstr("exists with another specification"));
  EXPECT_THAT(status.message(), HasSubstr("max_items"));
  status = refusal([](auto& options) {
    options.table.set_name("big");
    options.table.set_max_bytes(uint64_t{1} << 40);
  });
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  status = refusal([](auto& options) { options.slices[0].set_column("cost"); });
  EXPECT_THAT(status.message(), HasSubstr("no column \"cost\""));
  status = refusal([](auto& options) { options.batch_size = 5; });
  EXPECT_THAT(status.message(), HasSubstr("expected slots of 4 blocks, with 80 bytes for column \"observation\""));
  status = refusal([](auto& options) {
    options.without_replacement = true;
    options.table.set_max_items(3);
  });
  EXPECT_THAT(status.message(),
              HasSubstr("batches without replacement of up to the 3 items that 1 shards of 3 can hold, got 4"));
  status = refusal([](auto& options) { options.slices[1].set_first_row(9); });
  EXPECT_THAT(status.message(), HasSubstr("expected rows within items of 4 rows, got rows 9 to 10"));
  // Within the longest item the table may hold, but not within those it holds: only seen when one is drawn.
  status = refusal([](auto& options) { options.slices[1].set_first_row(3); });
  EXPECT_THAT(status.message(), HasSubstr("expected slices within items of 2 rows, got row 3"));
}

TEST(SamplerTest, PadsItemsThatAreShorterThanTheSlicesAndSaysSo) {
  TestShard shard;
  ASSERT_TRUE(shard.shard().CreateTable(MakePeer("run", "learner"), TestSpec()).ok());
  TestWriter writer(&shard.table(), 1, {.rows = 4, .stride = 1, .least_rows = 2});
  writer.Append(0, 5, v1::TRUNCATED);  // items 0-3, 1-4, 2-4, 3-4
  ASSERT_TRUE(writer.Insert().ok());
  constexpr uint32_t kBatch = 200;
  TestBatches batches({shard.address()}, kBatch, 1);
  batches.options.ratio = {.updates_per_step = 1000};
  batches.options.pad = true;
  std::vector<float> observations(kBatch * 2 * 2);
  batches.options.slices.resize(1);
  batches.options.slices[0].set_stride(3);
  batches.options.slots = {{std::as_writable_bytes(std::span(observations))}};
  const std::unique_ptr<ReplaySampler> sampler = StartSampler(batches);
  const absl::StatusOr<ReplaySampler::Filled> filled = sampler->Next(Soon());
  ASSERT_TRUE(filled.ok()) << filled.status();
  std::set<int> firsts;
  for (uint32_t i = 0; i < kBatch; ++i) {
    const int first = static_cast<int>(observations[4 * i + 1]);
    const int last = static_cast<int>(observations[4 * i + 3]);
    firsts.insert(first);
    EXPECT_EQ(last, std::min(first + 3, 4));
    EXPECT_EQ(sampler->rows(filled->slot)[i], last - first + 1);
  }
  EXPECT_EQ(firsts, (std::set<int>{0, 1, 2, 3}));
}

// As in a run whose only shard dies before its first checkpoint.
TEST(SamplerTest, DrawsNothingFromFewerStepsThanUpdatesBeginWith) {
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
TEST(SamplerTest, StepsAreGrantedSeveralAtATimeWhileTheLearnerHasEnough) {
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

TEST(SamplerTest, GoesOnWhereAResumedRunWas) {
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
