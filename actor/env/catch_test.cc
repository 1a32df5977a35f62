#include <vector>

#include "actor/env/environment.h"
#include "actor/env/registry.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::ElementsAre;

class CatchTest : public testing::Test {
 protected:
  // The whole episode with the ball in a column and the same action throughout; the reward of its last step.
  double Play(int column, int action) {
    environment_->Reset(random_, observation_);
    EXPECT_TRUE(environment_->SetState(std::vector<double>{0, static_cast<double>(column), 2}).ok());
    for (int step = 0; step < 8; ++step) {
      const StepResult result = environment_->Step({.discrete = action}, observation_);
      EXPECT_FALSE(result.terminated);
      EXPECT_EQ(result.reward, 0);
    }
    const StepResult result = environment_->Step({.discrete = action}, observation_);
    EXPECT_TRUE(result.terminated);
    return result.reward;
  }

  std::vector<float> Row(int row) {
    const std::span<float> board = As<float>(observation_);
    return {board.begin() + 5 * row, board.begin() + 5 * (row + 1)};
  }

  const std::unique_ptr<Environment> environment_ = *MakeEnvironment("Catch-v0");
  RandomStream random_{1, StreamRole::kTest, 0, StreamPurpose::kEnvironment};
  std::vector<std::byte> observation_ = std::vector<std::byte>(50 * sizeof(float));
};

TEST_F(CatchTest, OnlyAPaddleBelowTheBallCatchesIt) {
  for (int column = 0; column < 5; ++column) {
    EXPECT_EQ(Play(column, 0), column == 0 ? 1 : -1);
    EXPECT_EQ(Play(column, 1), column == 2 ? 1 : -1);
    EXPECT_EQ(Play(column, 2), column == 4 ? 1 : -1);
  }
}

TEST_F(CatchTest, ShowsBallAndPaddle) {
  environment_->Reset(random_, observation_);
  ASSERT_TRUE(environment_->SetState(std::vector<double>{3, 4, 2}).ok());
  environment_->Step({.discrete = 0}, observation_);
  EXPECT_THAT(Row(3), ElementsAre(0, 0, 0, 0, 0));
  EXPECT_THAT(Row(4), ElementsAre(0, 0, 0, 0, 1));
  EXPECT_THAT(Row(9), ElementsAre(0, 1, 0, 0, 0));
}

TEST_F(CatchTest, StartsInEveryColumn) {
  std::vector<int> seen(5);
  for (int i = 0; i < 100; ++i) {
    environment_->Reset(random_, observation_);
    for (int column = 0; column < 5; ++column) seen[column] += static_cast<int>(Row(0)[column]);
  }
  EXPECT_THAT(seen, testing::Each(testing::Gt(0)));
}

}  // namespace
}  // namespace headrace
