#include "replay/shard_draws.h"

#include <cstdint>
#include <set>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::ElementsAre;

// Of so many draws with replacement.
std::vector<double> Shares(uint32_t draws, const std::vector<ShardStock>& stocks) {
  RandomStream random(7);
  const std::vector<uint32_t> split = SplitDraws(draws, stocks, /*once=*/false, random);
  std::vector<double> shares;
  for (const uint32_t count : split) shares.push_back(count / static_cast<double>(draws));
  return shares;
}

TEST(ShardDrawsTest, AreInProportionToTheMasses) {
  // The standard deviation of a share of 100,000 draws is at most sqrt(0.25 / 100,000), or 0.0016.
  const std::vector<double> shares = Shares(100'000, {{.mass = 3}, {.mass = 0}, {.mass = 1}, {.mass = 6}});
  EXPECT_NEAR(shares[0], 0.3, 0.008);
  EXPECT_EQ(shares[1], 0);
  EXPECT_NEAR(shares[2], 0.1, 0.008);
  EXPECT_NEAR(shares[3], 0.6, 0.008);
}

TEST(ShardDrawsTest, OnceTakesEachItemOnce) {
  const std::vector<ShardStock> stocks = {{.mass = 3, .items = 3}, {}, {.mass = 100, .items = 2}};
  for (uint64_t key = 0; key < 100; ++key) {
    RandomStream random(key);
    EXPECT_THAT(SplitDraws(5, stocks, /*once=*/true, random), ElementsAre(3, 0, 2));
  }
}

// Of two shards with two items each, of weight 1 and 3, the first draw is of the heavy one with 6/8, and the second
// then with 3/5: both are with 9/20.
TEST(ShardDrawsTest, OnceTakesTheMeanWeightWithEachItem) {
  constexpr int kTimes = 20'000;
  int both = 0;
  for (uint64_t key = 0; key < kTimes; ++key) {
    RandomStream random(key);
    both += SplitDraws(2, {{.mass = 2, .items = 2}, {.mass = 6, .items = 2}}, /*once=*/true, random)[1] == 2;
  }
  EXPECT_NEAR(both / static_cast<double>(kTimes), 0.45, 0.018);  // five standard deviations
}

TEST(ShardDrawsTest, TotalsAreOverAllShards) {
  const std::vector<ShardStock> stocks = {{.mass = 3, .items = 2}, {}, {.mass = 0.5, .items = 4}};
  EXPECT_EQ(TotalMass(stocks), 3.5);
  EXPECT_EQ(TotalItems(stocks), 6);
}

// A run that is repeated, or goes on with a newer program, draws what it drew before.
TEST(ShardDrawsTest, TheSameKeyGivesTheSameDraws) {
  RandomStream random(DrawKey(1, 0, 2, 0));
  EXPECT_THAT(SplitDraws(32, {{.mass = 1}, {.mass = 1}, {.mass = 2}}, /*once=*/false, random), ElementsAre(4, 11, 17));
  EXPECT_EQ(DrawKey(1, 2, 3, 4), 3705391937491829246u);
}

TEST(ShardDrawsTest, EveryStreamHasAKeyOfItsOwn) {
  std::set<uint64_t> keys;
  for (uint64_t seed = 0; seed < 6; ++seed) {
    for (uint64_t draws_on = 0; draws_on < 6; ++draws_on) {
      for (uint64_t batch = 0; batch < 6; ++batch) {
        for (uint64_t salt = 0; salt < 6; ++salt) keys.insert(DrawKey(seed, draws_on, batch, salt));
      }
    }
  }
  EXPECT_EQ(keys.size(), 6u * 6 * 6 * 6);
}

}  // namespace
}  // namespace headrace
