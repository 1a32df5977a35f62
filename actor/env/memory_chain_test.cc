#include <vector>

#include "actor/env/environment.h"
#include "actor/env/registry.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatEq;

class MemoryChainTest : public testing::Test {
 protected:
  // All observations of an episode that answers with `answer`; the last reward goes to *reward.
  std::vector<std::vector<float>> Play(int answer, double* reward) {
    std::vector<std::vector<float>> seen;
    environment_->Reset(random_, observation_);
    for (bool over = false; !over;) {
      const std::span<float> numbers = As<float>(observation_);
      seen.emplace_back(numbers.begin(), numbers.end());
      const StepResult result = environment_->Step({.discrete = answer}, observation_);
      over = result.terminated;
      *reward = result.reward;
      if (!over) EXPECT_EQ(result.reward, 0);
    }
    return seen;
  }

  const std::unique_ptr<Environment> environment_ = *MakeEnvironment("MemoryChain-v0");
  RandomStream random_{1, StreamRole::kTest, 0, StreamPurpose::kEnvironment};
  std::vector<std::byte> observation_ = std::vector<std::byte>(3 * sizeof(float));
};

TEST_F(MemoryChainTest, ShowsTheBitThenNothingThenTheQuery) {
  double reward = 0;
  const std::vector<std::vector<float>> seen = Play(0, &reward);
  ASSERT_EQ(seen.size(), 12u);
  EXPECT_THAT(seen[0], ElementsAre(1, 0, testing::AnyOf(-1, 1)));
  for (int t = 1; t <= 10; ++t) EXPECT_THAT(seen[t], ElementsAre(FloatEq(1 - t / 12.0f), 0, 0));
  EXPECT_THAT(seen[11], ElementsAre(FloatEq(1 / 12.0f), 1, 0));
}

TEST_F(MemoryChainTest, OnlyTheBitIsRightAndNothingAfterTheStartTellsIt) {
  int ones = 0;
  double reward = 0;
  std::vector<std::vector<float>> after_start;
  for (int episode = 0; episode < 200; ++episode) {
    const int answer = episode % 2;
    std::vector<std::vector<float>> seen = Play(answer, &reward);
    const int bit = seen[0][2] > 0 ? 1 : 0;
    EXPECT_EQ(reward, answer == bit ? 1 : -1);
    ones += bit;
    seen.erase(seen.begin());
    if (after_start.empty()) after_start = seen;
    EXPECT_EQ(seen, after_start);
  }
  EXPECT_NEAR(ones, 100, 35);  // five standard deviations
}

}  // namespace
}  // namespace headrace
