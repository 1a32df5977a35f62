// Samplers and writers around real shards.
#include "replay/sampler.h"

#include <functional>
#include <set>
#include <thread>

#include "common/protocol.h"
#include "common/test_directory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "replay/service_testing.h"
#include "replay/testing.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;

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

}  // namespace
}  // namespace headrace
