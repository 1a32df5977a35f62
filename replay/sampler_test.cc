// Samplers and writers around real shards.
#include "replay/sampler.h"

#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <functional>
#include <future>
#include <map>
#include <numeric>
#include <random>
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

std::unique_ptr<ReplaySampler> StartSampler(const TestBatches& batches) {
  absl::StatusOr<std::unique_ptr<ReplaySampler>> sampler = ReplaySampler::Start(batches.options);
  EXPECT_TRUE(sampler.ok()) << sampler.status();
  return *std::move(sampler);
}

std::unique_ptr<ReplayWriter> StartWriter(const ReplayWriterOptions& options) {
  absl::StatusOr<std::unique_ptr<ReplayWriter>> writer = ReplayWriter::Start(options);
  EXPECT_TRUE(writer.ok()) << writer.status();
  return *std::move(writer);
}

// Straight into a shard's table: `transitions` of one lane.
void Fill(TestShard& shard, uint64_t id, uint32_t lane, uint32_t transitions, const v1::TableSpec& spec = TestSpec()) {
  ASSERT_TRUE(shard.shard().CreateTable(MakePeer("run", "learner"), spec).ok());
  TestWriter writer(&shard.table(), id);
  writer.Append(lane, transitions + 1);
  ASSERT_TRUE(writer.Insert().ok());
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

// Chi-square of the draws over `items` items, each expected equally often, as a number of standard deviations.
double Deviation(const std::vector<uint32_t>& counts) {
  const double items = static_cast<double>(counts.size());
  double draws = 0;
  for (const uint32_t count : counts) draws += count;
  double chi_square = 0;
  for (const uint32_t count : counts) chi_square += std::pow(count - draws / items, 2) / (draws / items);
  return (chi_square - (items - 1)) / std::sqrt(2 * (items - 1));
}

// Gives every item the priority of its row.
void SetPriorities(Table& table, const std::function<float(uint64_t row)>& priority_of) {
  // What is drawn of everything, often enough that none is left out.
  for (uint64_t key = 0; key < 100; ++key) {
    Table::Batch batch;
    ASSERT_TRUE(table.Sample({500, 1, key}, batch, {&table, [] {}}).ok());
    for (const ItemStore::Drawn& item : batch.items()) {
      std::array<float, 2> observation;
      std::byte* const block = reinterpret_cast<std::byte*>(observation.data());
      const std::vector<Slice> slices = {{0, 0, 1}};
      table.Gather({&item, 1}, slices, {&block, 1});
      const float priority = priority_of(static_cast<uint64_t>(observation[1]));
      ASSERT_TRUE(table.UpdatePriorities(table.State().incarnation(), {{item.key}}, {{priority}}).ok());
    }
  }
}

constexpr uint32_t kItemsOfShards[] = {30, 100, 250};

// How often each item of three shards was drawn, in 1,050 batches of 1,000. `priority`: null: uniformly.
void Draw(const std::function<float(uint32_t shard, uint64_t row)>& priority,
          std::vector<std::vector<uint32_t>>& counts) {
  constexpr uint32_t kBatch = 1000;
  constexpr uint32_t kBatches = 1050;
  v1::TableSpec spec = TestSpec();
  if (priority != nullptr) spec.set_sampler(v1::PROPORTIONAL);
  if (priority != nullptr) spec.set_priority_exponent(1);
  std::vector<std::unique_ptr<TestShard>> shards;
  std::vector<std::string> addresses;
  for (uint32_t i = 0; i < 3; ++i) {
    shards.push_back(std::make_unique<TestShard>(i));
    Fill(*shards[i], i + 1, i, kItemsOfShards[i], spec);
    if (priority != nullptr) SetPriorities(shards[i]->table(), [&](uint64_t row) { return priority(i, row); });
    addresses.push_back(shards[i]->address());
    counts.emplace_back(kItemsOfShards[i]);
  }
  TestBatches batches(addresses, kBatch, 4);
  batches.options.table = spec;
  batches.options.ratio = {.updates_per_step = 1000};
  const std::unique_ptr<ReplaySampler> sampler = StartSampler(batches);
  ASSERT_TRUE(sampler->WaitConnected(Soon()));
  // Batches that were drawn before all shards had connected are of those that had.
  for (int i = 0; i < 4; ++i) sampler->Done(sampler->Next(Soon())->slot, 0);
  for (uint32_t k = 0; k < kBatches; ++k) {
    const absl::StatusOr<ReplaySampler::Filled> filled = sampler->Next(Soon());
    ASSERT_TRUE(filled.ok()) << filled.status();
    for (uint32_t i = 0; i < kBatch; ++i) {
      const auto [lane, row] = batches.Check(filled->slot, i);
      ++counts.at(lane).at(row);
    }
    sampler->Done(filled->slot, k);
  }
}

// Over all items.
double DeviationOfItems(const std::vector<std::vector<uint32_t>>& counts) {
  std::vector<uint32_t> all;
  for (const std::vector<uint32_t>& shard : counts) all.insert(all.end(), shard.begin(), shard.end());
  return Deviation(all);
}

// As three cells, which show a bias in splitting the draws soonest. With two degrees of freedom 20 is exceeded once in
// 20 thousand times.
double ChiSquareOfShards(const std::vector<std::vector<uint32_t>>& counts) {
  std::array<double, 3> drawn{};
  for (size_t i = 0; i < 3; ++i) drawn[i] = std::accumulate(counts[i].begin(), counts[i].end(), 0.0);
  const double draws = drawn[0] + drawn[1] + drawn[2];
  double chi_square = 0;
  for (size_t i = 0; i < 3; ++i) {
    const double expected = draws * kItemsOfShards[i] / 380;
    chi_square += std::pow(drawn[i] - expected, 2) / expected;
  }
  return chi_square;
}

TEST(SamplerTest, IsUniformOverTheItemsOfAllShards) {
  std::vector<std::vector<uint32_t>> counts;
  ASSERT_NO_FATAL_FAILURE(Draw(nullptr, counts));
  EXPECT_LT(std::abs(DeviationOfItems(counts)), 4);
  EXPECT_LT(ChiSquareOfShards(counts), 20);
}

// Nor would the test above let it pass.
TEST(SamplerTest, OneThatPrefersHalfOfTheItemsByTwoPercentIsNotUniform) {
  std::vector<std::vector<uint32_t>> counts;
  ASSERT_NO_FATAL_FAILURE(Draw([](uint32_t, uint64_t row) { return row % 2 == 0 ? 1.02f : 0.98f; }, counts));
  EXPECT_GT(DeviationOfItems(counts), 4);
}

TEST(SamplerTest, OneThatPrefersOrAvoidsAShardByTwoPercentIsNotUniform) {
  for (const float bias : {1.02f, 0.98f}) {
    std::vector<std::vector<uint32_t>> counts;
    ASSERT_NO_FATAL_FAILURE(Draw([bias](uint32_t shard, uint64_t) { return shard == 2 ? bias : 1.0f; }, counts));
    EXPECT_GT(ChiSquareOfShards(counts), 20);
  }
}

// How often each item of three shards of 30, 100 and 250 items is in one of `batches` batches of `batch` items, and
// each shard's share of each batch. Without replacement; fails if an item comes twice in a batch.
struct Inclusions {
  std::vector<double> items;
  std::vector<std::array<double, 3>> shares;
};
Inclusions DrawWithoutReplacement(const v1::TableSpec& spec, const std::function<float(uint64_t)>& priority,
                                  uint32_t batch, uint32_t number_of_batches) {
  constexpr uint32_t kItems[] = {30, 100, 250};
  constexpr uint32_t kFirst[] = {0, 30, 130};
  std::vector<std::unique_ptr<TestShard>> shards;
  std::vector<std::string> addresses;
  for (uint32_t i = 0; i < 3; ++i) {
    shards.push_back(std::make_unique<TestShard>(i));
    EXPECT_TRUE(shards[i]->shard().CreateTable(MakePeer("run", "learner"), spec).ok());
    TestWriter writer(&shards[i]->table(), i + 1);
    writer.Append(i, kItems[i] + 1);
    EXPECT_TRUE(writer.Insert().ok());
    addresses.push_back(shards[i]->address());
    Table::Batch all;
    EXPECT_TRUE(shards[i]->table().Sample({kItems[i], 1, 1, true}, all, {&shards[i], [] {}}).ok());
    std::vector<std::array<float, 2>> observations(kItems[i]);
    std::byte* const block = reinterpret_cast<std::byte*>(observations.data());
    const std::vector<Slice> slices = {{0, 0, 1}};
    shards[i]->table().Gather(all.items(), slices, {&block, 1});
    for (uint32_t k = 0; k < kItems[i]; ++k) {
      const float set = priority(kFirst[i] + static_cast<uint64_t>(observations[k][1]));
      EXPECT_TRUE(shards[i]->table().UpdatePriorities(all.state().incarnation(), {{all.items()[k].key}}, {{set}}).ok());
    }
  }
  TestBatches batches(addresses, batch, 4);
  batches.options.table = spec;
  batches.options.without_replacement = true;
  batches.options.ratio = {.updates_per_step = 1000000};
  const std::unique_ptr<ReplaySampler> sampler = StartSampler(batches);
  EXPECT_TRUE(sampler->WaitConnected(Soon()));
  // Batches that were drawn before all shards had connected are of those that had.
  for (int i = 0; i < 4; ++i) sampler->Done(sampler->Next(Soon())->slot, 0);
  Inclusions inclusions{std::vector<double>(380), {}};
  for (uint32_t k = 0; k < number_of_batches; ++k) {
    const absl::StatusOr<ReplaySampler::Filled> filled = sampler->Next(Soon());
    EXPECT_TRUE(filled.ok()) << filled.status();
    if (!filled.ok()) break;
    std::set<uint64_t> seen;
    std::array<double, 3> shares{};
    for (uint32_t i = 0; i < batch; ++i) {
      const auto [lane, row] = batches.Check(filled->slot, i);
      EXPECT_TRUE(seen.insert(kFirst[lane] + row).second)
          << "item " << row << " of lane " << lane << " twice in a batch";
      ++inclusions.items.at(kFirst[lane] + row);
      ++shares.at(lane);
    }
    inclusions.shares.push_back(shares);
    sampler->Done(filled->slot, k);
  }
  return inclusions;
}

TEST(SamplerTest, WithoutReplacementEachItemOfAllShardsIsAsOftenInABatch) {
  constexpr uint32_t kBatch = 150;
  constexpr uint32_t kBatches = 2000;
  const Inclusions seen = DrawWithoutReplacement(
      TestSpec(), [](uint64_t) { return 1; }, kBatch, kBatches);
  // An item is in a batch with probability 150 / 380. Those in one batch make room for fewer others: hence 379 / 380.
  const double probability = kBatch / 380.0;
  const auto deviation = [&](double bias) {
    double chi_square = 0;
    for (size_t i = 0; i < 380; ++i) {
      const double count = seen.items[i] * (i % 2 == 0 ? 1 + bias : 1 - bias);
      chi_square += std::pow(count - kBatches * probability, 2) / (kBatches * probability * (1 - probability));
    }
    return (chi_square * 379 / 380 - 379) / std::sqrt(2 * 379);
  };
  EXPECT_LT(std::abs(deviation(0)), 4);
  EXPECT_GT(deviation(0.02), 4);  // it would see a sampler that draws half of all items 2% too often
  // The third shard's share is distributed hypergeometrically, as over one table: draws that are split as if they were
  // put back would have a variance of 34.
  double mean = 0;
  double variance = 0;
  for (const auto& share : seen.shares) mean += share[2] / kBatches;
  for (const auto& share : seen.shares) variance += std::pow(share[2] - mean, 2) / kBatches;
  EXPECT_NEAR(mean, kBatch * 250 / 380.0, 5 * std::sqrt(20.5 / kBatches));
  EXPECT_NEAR(variance, 150 * (250 / 380.0) * (130 / 380.0) * (230 / 379.0), 0.15 * 20.5);
}

TEST(SamplerTest, WithoutReplacementPrioritisedDrawsAreAsOverOneTable) {
  constexpr uint32_t kBatch = 40;
  constexpr uint32_t kBatches = 3000;
  constexpr uint32_t kModelBatches = 30000;
  v1::TableSpec spec = TestSpec();
  spec.set_sampler(v1::PROPORTIONAL);
  const auto priority = [](uint64_t item) { return static_cast<float>(1 + 7 * item % 9); };
  const Inclusions seen = DrawWithoutReplacement(spec, priority, kBatch, kBatches);
  // How often an item should be there has no simple formula: one table's selector is asked.
  const std::unique_ptr<Selector> model = FindSelector(v1::PROPORTIONAL)->make(380, nullptr);
  for (uint32_t item = 0; item < 380; ++item) model->Insert(item, priority(item));
  RandomStream random(1);
  std::vector<double> expected(380);
  std::vector<Selector::Draw> draws(kBatch);
  for (uint32_t k = 0; k < kModelBatches; ++k) {
    model->SelectDistinct(random, draws);
    for (const Selector::Draw& draw : draws) ++expected[draw.slot];
  }
  const auto deviation = [&](double bias) {
    double chi_square = 0;
    for (size_t i = 0; i < 380; ++i) {
      const double probability = expected[i] / kModelBatches;
      const double count = seen.items[i] * (i % 2 == 0 ? 1 + bias : 1 - bias);
      const double variance = kBatches * probability * (1 - probability) * (1 + double{kBatches} / kModelBatches);
      chi_square += std::pow(count - kBatches * probability, 2) / variance;
    }
    return (chi_square - 379) / std::sqrt(2 * 379);
  };
  EXPECT_LT(std::abs(deviation(0)), 4);
  EXPECT_GT(deviation(0.1), 4);
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

// Prioritised: over three shards of unequal size, whose items come and go, each item is drawn in proportion to its
// priority to the table's exponent, and the sampler knows with which probability.
TEST(SamplerTest, IsProportionalOverTheItemsOfAllShardsWhileTheyComeAndGo) {
  constexpr uint32_t kItems[] = {30, 100, 250};
  constexpr uint32_t kBatch = 1000;
  constexpr uint32_t kBatchesOfAPhase = 210;
  constexpr uint32_t kPhases = 5;
  constexpr uint32_t kSlots = 4;
  constexpr double kExponent = 0.5;
  v1::TableSpec spec = TestSpec();
  spec.set_sampler(v1::PROPORTIONAL);
  spec.set_priority_exponent(kExponent);
  const auto priority = [](uint32_t lane, uint64_t row) { return static_cast<float>(1 + (3 * row + lane) % 9); };
  std::vector<std::unique_ptr<TestShard>> shards;
  std::vector<std::unique_ptr<TestWriter>> writers;
  std::vector<std::string> addresses;
  for (uint32_t i = 0; i < 3; ++i) {
    shards.push_back(std::make_unique<TestShard>(i));
    ASSERT_TRUE(shards[i]->shard().CreateTable(MakePeer("run", "learner"), spec).ok());
    writers.push_back(std::make_unique<TestWriter>(&shards[i]->table(), i + 1));
    addresses.push_back(shards[i]->address());
  }
  TestBatches batches(addresses, kBatch, kSlots);
  batches.options.table = spec;
  batches.options.ratio = {.updates_per_step = 1000, .lead_steps = 1 << 20};
  std::unique_ptr<ReplaySampler> sampler;

  using Item = std::pair<uint32_t, uint64_t>;  // lane, which is the shard's number, and row
  std::map<Item, double> observed;
  std::map<Item, double> expected;
  for (uint32_t phase = 0; phase < kPhases; ++phase) {
    double mass = 0;
    std::map<Item, double> weights;
    for (uint32_t i = 0; i < 3; ++i) {
      // An episode's last row is no item.
      writers[i]->Append(i, kItems[i] + 1, v1::TERMINATED);
      const absl::StatusOr<Table::Outcome> inserted = writers[i]->Insert();
      ASSERT_TRUE(inserted.ok() && *inserted == Table::Outcome::kDone) << inserted.status();
      SetPriorities(shards[i]->table(), [&](uint64_t row) {
        weights[{i, row}] = std::pow(priority(i, row), kExponent);
        return priority(i, row);
      });
    }
    for (const auto& [item, weight] : weights) mass += weight;
    if (sampler == nullptr) sampler = StartSampler(batches);
    ASSERT_TRUE(sampler->WaitConnected(Soon()));
    // Batches that were drawn, or whose draws were shared out, before the items changed.
    for (uint32_t i = 0; i < 2 * kSlots; ++i) sampler->Done(sampler->Next(Soon())->slot, 0);
    for (uint32_t k = 0; k < kBatchesOfAPhase; ++k) {
      const absl::StatusOr<ReplaySampler::Filled> filled = sampler->Next(Soon());
      ASSERT_TRUE(filled.ok()) << filled.status();
      const std::span<const double> probabilities = sampler->probabilities(filled->slot);
      for (uint32_t i = 0; i < kBatch; ++i) {
        const Item item = batches.Check(filled->slot, i);
        ASSERT_NEAR(probabilities[i], weights.at(item) / mass, 1e-6);
        ++observed[item];
      }
      sampler->Done(filled->slot, k);
    }
    for (const auto& [item, weight] : weights) expected[item] += weight / mass * kBatch * kBatchesOfAPhase;
  }

  // From what a sampler would give that prefers half of the items so much.
  const auto deviation = [&](double bias) {
    const auto biased = [&](const Item& item) { return expected[item] * (item.second % 2 == 0 ? 1 + bias : 1 - bias); };
    double draws = 0, biased_draws = 0;
    for (const auto& [item, count] : expected) {
      draws += count;
      biased_draws += biased(item);
    }
    double chi_square = 0;
    for (const auto& [item, count] : expected) {
      const double wanted = biased(item) * draws / biased_draws;
      chi_square += std::pow(observed[item] - wanted, 2) / wanted;
    }
    const double freedom = static_cast<double>(expected.size()) - kPhases;
    return (chi_square - freedom) / std::sqrt(2 * freedom);
  };
  EXPECT_LT(std::abs(deviation(0)), 4);
  EXPECT_GT(deviation(0.02), 4);
  EXPECT_GT(deviation(-0.02), 4);
}

// Three shards of unequal size. The largest is full, and a writer goes on while a million items are drawn: each chunk
// of 8 items has one of four priorities, in turn, and puts as many of the same priority out, so that of each shard and
// priority there are as many items at every moment, although in the largest none stays. How often items of each were
// drawn, from what is expected, in chi-square's standard deviations. `exponent`: of the priorities; 0: the tables are
// uniform. `dropped`: what part of the draws that hit items of every other chunk is left out, which makes a biased
// sampler of any.
void DrawWhileWritersGoOn(std::array<float, 4> priorities, double exponent, double dropped, double& deviation) {
  constexpr uint32_t kItems[] = {64, 192, 512};
  constexpr uint32_t kLargest = 2;
  constexpr uint32_t kChunk = 8;
  constexpr uint32_t kBatch = 1000;
  constexpr uint32_t kBatches = 1050;
  v1::TableSpec spec = TestSpec();
  spec.set_sampler(exponent > 0 ? v1::PROPORTIONAL : v1::UNIFORM);
  if (exponent > 0) spec.set_priority_exponent(exponent);
  spec.set_max_items(kItems[kLargest]);
  std::vector<std::unique_ptr<TestShard>> shards;
  std::vector<std::unique_ptr<TestWriter>> writers;
  std::vector<std::string> addresses;
  std::array<uint64_t, 3> chunks{};
  const auto insert = [&](uint32_t i) {
    writers[i]->SetPriority(priorities[chunks[i]++ % 4]);
    writers[i]->Append(i, kChunk);
    const absl::StatusOr<Table::Outcome> inserted = writers[i]->Insert();
    ASSERT_TRUE(inserted.ok() && *inserted == Table::Outcome::kDone) << inserted.status();
  };
  for (uint32_t i = 0; i < 3; ++i) {
    shards.push_back(std::make_unique<TestShard>(i));
    ASSERT_TRUE(shards[i]->shard().CreateTable(MakePeer("run", "learner"), spec).ok());
    writers.push_back(std::make_unique<TestWriter>(&shards[i]->table(), i + 1));
    addresses.push_back(shards[i]->address());
    // The very first row completes no item.
    writers[i]->Append(i, 1);
    ASSERT_TRUE(writers[i]->Insert().ok());
    for (uint32_t k = 0; k < kItems[i] / kChunk; ++k) ASSERT_NO_FATAL_FAILURE(insert(i));
    ASSERT_EQ(shards[i]->table().State().items(), kItems[i]);
  }
  TestBatches batches(addresses, kBatch, 4);
  batches.options.table = spec;
  batches.options.ratio = {.updates_per_step = 1000, .lead_steps = uint64_t{1} << 40};
  const std::unique_ptr<ReplaySampler> sampler = StartSampler(batches);
  ASSERT_TRUE(sampler->WaitConnected(Soon()));
  std::array<std::array<double, 4>, 3> observed{};
  std::set<uint64_t> seen;  // rows of the largest shard
  std::mt19937 random(1);
  {
    const std::jthread writing([&](const std::stop_token& stop) {
      while (!stop.stop_requested() && !testing::Test::HasFatalFailure()) {
        insert(kLargest);
        std::this_thread::sleep_for(std::chrono::microseconds(50));
      }
    });
    // Batches that were drawn before all shards had connected.
    for (int i = 0; i < 8; ++i) sampler->Done(sampler->Next(Soon())->slot, 0);
    for (uint32_t k = 0; k < kBatches; ++k) {
      const absl::StatusOr<ReplaySampler::Filled> filled = sampler->Next(Soon());
      ASSERT_TRUE(filled.ok()) << filled.status();
      for (uint32_t i = 0; i < kBatch; ++i) {
        const auto [lane, row] = batches.Check(filled->slot, i);
        if (lane == kLargest) seen.insert(row);
        const uint64_t chunk = row / kChunk;  // of the row that completed it, without the very first
        if (chunk % 2 == 0 && std::uniform_real_distribution<double>()(random) < dropped) continue;
        ++observed[lane][chunk % 4];
      }
      sampler->Done(filled->slot, k);
    }
  }
  EXPECT_GT(seen.size(), 4 * size_t{kItems[kLargest]}) << "hardly an item came or went";

  std::array<std::array<double, 4>, 3> expected{};
  double mass = 0, draws = 0;
  for (size_t i = 0; i < 3; ++i) {
    for (size_t j = 0; j < 4; ++j) {
      expected[i][j] = kItems[i] * std::pow(priorities[j], exponent);
      mass += expected[i][j];
      draws += observed[i][j];
    }
  }
  double chi_square = 0;
  for (size_t i = 0; i < 3; ++i) {
    for (size_t j = 0; j < 4; ++j) {
      const double wanted = draws * expected[i][j] / mass;
      chi_square += std::pow(observed[i][j] - wanted, 2) / wanted;
    }
  }
  deviation = (chi_square - 11) / std::sqrt(22);
}

// Of the draws of every other chunk so many are left out that the others have 2% more than is their due, and these 2%
// less.
constexpr double kTwoPercent = 1 - 0.98 / 1.02;

// With eleven degrees of freedom it is exceeded once in a million times.
constexpr double kMost = 8;

TEST(SamplerTest, IsUniformWhileWritersGoOn) {
  double deviation = 0;
  ASSERT_NO_FATAL_FAILURE(DrawWhileWritersGoOn({1, 1, 1, 1}, 0, 0, deviation));
  EXPECT_LT(deviation, kMost);
  ASSERT_NO_FATAL_FAILURE(DrawWhileWritersGoOn({1, 1, 1, 1}, 0, kTwoPercent, deviation));
  EXPECT_GT(deviation, kMost);
}

TEST(SamplerTest, IsProportionalWhileWritersGoOn) {
  double deviation = 0;
  ASSERT_NO_FATAL_FAILURE(DrawWhileWritersGoOn({1, 4, 2, 8}, 0.5, 0, deviation));
  EXPECT_LT(deviation, kMost);
  ASSERT_NO_FATAL_FAILURE(DrawWhileWritersGoOn({1, 4, 2, 8}, 0.5, kTwoPercent, deviation));
  EXPECT_GT(deviation, kMost);
}

// Between two draws a chunk comes and the oldest items go: however long an item has been there, it is drawn as often.
TEST(SamplerTest, OfATableWhoseItemsComeAndGoEachAgeIsDrawnAsOften) {
  constexpr uint32_t kItems = 256;
  constexpr uint32_t kChunk = 8;
  constexpr uint32_t kDraws = 64;
  v1::TableSpec spec = TestSpec();
  spec.set_max_items(kItems);
  const std::unique_ptr<Table> table = *Table::Create(spec, 0, 1);
  TestWriter writer(table.get(), 1);
  writer.Append(0, kItems + 1);
  ASSERT_TRUE(writer.Insert().ok());
  uint64_t newest = kItems - 1;  // first row of the newest item
  std::vector<uint32_t> of_age(kItems);
  std::mt19937 random(1);
  std::vector<uint32_t> biased(kItems);  // of the newer half two percent are missing, and the older has them
  for (uint32_t k = 0; k < 1'050'000 / kDraws; ++k) {
    writer.Append(0, kChunk);
    ASSERT_TRUE(writer.Insert().ok());
    newest += kChunk;
    Table::Batch batch;
    ASSERT_EQ(*table->Sample({kDraws, 1, k + 1}, batch, {&batch, [] {}}), Table::Outcome::kDone);
    for (const ItemStore::Drawn& item : batch.items()) {
      std::array<float, 2> observation;
      std::byte* const block = reinterpret_cast<std::byte*>(observation.data());
      const std::vector<Slice> slices = {{0, 0, 1}};
      table->Gather({&item, 1}, slices, {&block, 1});
      const uint64_t age = newest - static_cast<uint64_t>(observation[1]);
      ++of_age.at(age);
      if (age >= kItems / 2 || std::uniform_real_distribution<double>()(random) >= kTwoPercent) ++biased[age];
    }
  }
  EXPECT_LT(std::abs(Deviation(of_age)), 4);
  EXPECT_GT(Deviation(biased), 4);
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
