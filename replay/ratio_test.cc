#include "replay/ratio.h"

#include "gtest/gtest.h"

namespace headrace {
namespace {

class RatioTest : public testing::TestWithParam<double> {};

INSTANTIATE_TEST_SUITE_P(UpdatesPerStep, RatioTest,
                         testing::Values(1e-6, 1000.0, 0.1, 0.25, 0.5, 0.7, 1.0, 1.0 / 3, 2.0, 3.7, 20.0));

// Both sides go on as far as they may, in turn. Neither may find that nothing is left to do.
TEST_P(RatioTest, BothSidesAlwaysGoOn) {
  for (const uint64_t lead : {0, 1, 2, 7, 1000}) {
    // Far along, too: at 0.7 the product rounds down where the quotient does not after 13 million steps.
    for (const uint64_t start : {0ull, 10'000'000ull, 100'000'003ull, 10'000'000'000ull}) {
      const Ratio ratio = {.updates_per_step = GetParam(), .min_steps = 100, .lead_steps = lead};
      uint64_t updates = start == 0 ? 0 : ratio.BatchesAllowed(start);
      uint64_t steps = start;
      for (int turn = 0; turn < 2000; ++turn) {
        const uint64_t allowed = ratio.StepsAllowed(updates);
        steps = std::max(steps, allowed);
        ASSERT_LT(updates, ratio.BatchesAllowed(steps)) << "lead " << lead << ", " << steps << " steps";
        ++updates;
      }
    }
  }
}

TEST_P(RatioTest, UpdatesNeverExceedTheirShareAndInsertionItsLead) {
  const Ratio ratio = {.updates_per_step = GetParam(), .min_steps = 100, .lead_steps = 10};
  for (uint64_t steps = 0; steps < 5000; ++steps) {
    const double share = steps <= 100 ? 0 : static_cast<double>(steps - 100) * GetParam();
    EXPECT_LE(static_cast<double>(ratio.BatchesAllowed(steps)), share + 1e-6);
    EXPECT_GT(static_cast<double>(ratio.BatchesAllowed(steps)), share - 1 - 1e-6);
  }
  for (uint64_t updates = 0; updates < 5000; ++updates) {
    // Ahead by the lead, or by what the next update needs.
    const double due = 100 + static_cast<double>(updates) / GetParam();
    EXPECT_LE(static_cast<double>(ratio.StepsAllowed(updates)), due + std::max(10.0, 1 / GetParam() + 1) + 1e-6);
  }
}

TEST_P(RatioTest, NeededStepsAreTheFewestThatAllow) {
  const Ratio ratio = {.updates_per_step = GetParam(), .min_steps = 5};
  for (uint64_t batches = 1; batches < 3000; ++batches) {
    const uint64_t steps = ratio.StepsNeeded(batches);
    EXPECT_GE(ratio.BatchesAllowed(steps), batches);
    EXPECT_LT(ratio.BatchesAllowed(steps - 1), batches);
  }
}

TEST(RatioTest, NotHeldItAllowsEverythingUpToTheEndOfTheRun) {
  const Ratio ratio = {.max_steps = 1000, .held = false};
  EXPECT_EQ(ratio.BatchesAllowed(0), UINT64_MAX);
  EXPECT_EQ(ratio.StepsNeeded(7), 0u);
  EXPECT_EQ(ratio.StepsAllowed(0), 1000u);
}

TEST(RatioTest, NothingIsAllowedBeforeTheFirstSteps) {
  const Ratio ratio = {.updates_per_step = 20, .min_steps = 100};
  EXPECT_EQ(ratio.BatchesAllowed(0), 0u);
  EXPECT_EQ(ratio.BatchesAllowed(100), 0u);
  EXPECT_EQ(ratio.BatchesAllowed(101), 20u);
}

}  // namespace
}  // namespace headrace
