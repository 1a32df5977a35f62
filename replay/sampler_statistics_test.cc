// How often items are drawn: by chi-square over a million draws each, which a bias of two percent does not pass.
#include <array>
#include <chrono>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <thread>

#include "common/protocol.h"
#include "gtest/gtest.h"
#include "replay/sampler.h"
#include "replay/service_testing.h"
#include "replay/testing.h"

namespace headrace {
namespace {

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

TEST(SamplerStatisticsTest, IsUniformOverTheItemsOfAllShards) {
  std::vector<std::vector<uint32_t>> counts;
  ASSERT_NO_FATAL_FAILURE(Draw(nullptr, counts));
  EXPECT_LT(std::abs(DeviationOfItems(counts)), 4);
  EXPECT_LT(ChiSquareOfShards(counts), 20);
}

// Nor would the test above let it pass.
TEST(SamplerStatisticsTest, OneThatPrefersHalfOfTheItemsByTwoPercentIsNotUniform) {
  std::vector<std::vector<uint32_t>> counts;
  ASSERT_NO_FATAL_FAILURE(Draw([](uint32_t, uint64_t row) { return row % 2 == 0 ? 1.02f : 0.98f; }, counts));
  EXPECT_GT(DeviationOfItems(counts), 4);
}

TEST(SamplerStatisticsTest, OneThatPrefersOrAvoidsAShardByTwoPercentIsNotUniform) {
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

TEST(SamplerStatisticsTest, WithoutReplacementEachItemOfAllShardsIsAsOftenInABatch) {
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

TEST(SamplerStatisticsTest, WithoutReplacementPrioritisedDrawsAreAsOverOneTable) {
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

// Prioritised: over three shards of unequal size, whose items come and go, each item is drawn in proportion to its
// priority to the table's exponent, and the sampler knows with which probability.
TEST(SamplerStatisticsTest, IsProportionalOverTheItemsOfAllShardsWhileTheyComeAndGo) {
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

TEST(SamplerStatisticsTest, IsUniformWhileWritersGoOn) {
  double deviation = 0;
  ASSERT_NO_FATAL_FAILURE(DrawWhileWritersGoOn({1, 1, 1, 1}, 0, 0, deviation));
  EXPECT_LT(deviation, kMost);
  ASSERT_NO_FATAL_FAILURE(DrawWhileWritersGoOn({1, 1, 1, 1}, 0, kTwoPercent, deviation));
  EXPECT_GT(deviation, kMost);
}

TEST(SamplerStatisticsTest, IsProportionalWhileWritersGoOn) {
  double deviation = 0;
  ASSERT_NO_FATAL_FAILURE(DrawWhileWritersGoOn({1, 4, 2, 8}, 0.5, 0, deviation));
  EXPECT_LT(deviation, kMost);
  ASSERT_NO_FATAL_FAILURE(DrawWhileWritersGoOn({1, 4, 2, 8}, 0.5, kTwoPercent, deviation));
  EXPECT_GT(deviation, kMost);
}

// Between two draws a chunk comes and the oldest items go: however long an item has been there, it is drawn as often.
TEST(SamplerStatisticsTest, OfATableWhoseItemsComeAndGoEachAgeIsDrawnAsOften) {
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

}  // namespace
}  // namespace headrace
