#include "actor/evaluation.h"

#include <stdexcept>

#include "ATen/core/Tensor.h"
#include "common/config.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::Each;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

// Always the same action.
class ConstantPolicy : public Policy {
 public:
  explicit ConstantPolicy(double action) : action_(action) {}
  void Act(const at::Tensor& observations, ActMode mode, RandomStream& random, at::Tensor& actions,
           at::Tensor& log_probs) override {
    EXPECT_EQ(mode, ActMode::kGreedy);
    EXPECT_EQ(observations.size(0), actions.size(0));
    actions.fill_(action_);
  }
  std::vector<NamedTensor> Tensors() const override { return {}; }

 private:
  const double action_;
};

class BrokenPolicy : public ConstantPolicy {
 public:
  BrokenPolicy() : ConstantPolicy(0) {}
  void Act(const at::Tensor&, ActMode, RandomStream&, at::Tensor&, at::Tensor&) override {
    throw std::runtime_error("mat1 and mat2 shapes cannot be multiplied");
  }
};

v1::RunConfig Config(const std::string& environment, const std::vector<std::string>& overrides = {}) {
  return *ParseRunConfig("environment { name: \"" + environment + "\" } sac {}", "test", overrides);
}

v1::EvaluationResult Play(const v1::RunConfig& config, uint32_t episodes, uint64_t seed, double action = 0) {
  ConstantPolicy policy(action);
  const absl::StatusOr<v1::EvaluationResult> result = Evaluate(config, policy, episodes, seed, [] { return false; });
  EXPECT_TRUE(result.ok()) << result.status();
  return result.value_or(v1::EvaluationResult());
}

TEST(EvaluationTest, PlaysAsManyEpisodesAsAskedFor) {
  for (const uint32_t episodes : {0, 1, 7, 100}) {  // 100 are played in two rounds
    const v1::EvaluationResult result = Play(Config("Pendulum-v1"), episodes, 1);
    EXPECT_EQ(result.returns_size(), static_cast<int>(episodes));
    EXPECT_EQ(result.lengths_size(), static_cast<int>(episodes));
    EXPECT_THAT(result.lengths(), Each(200));
  }
}

TEST(EvaluationTest, TheSameSeedGivesTheSameReturnsAndAnotherOthers) {
  const v1::EvaluationResult first = Play(Config("Pendulum-v1"), 5, 1);
  EXPECT_THAT(Play(Config("Pendulum-v1"), 5, 1).returns(), ElementsAreArray(first.returns()));
  EXPECT_NE(Play(Config("Pendulum-v1"), 5, 2).returns(0), first.returns(0));
  EXPECT_NE(Play(Config("Pendulum-v1"), 5, 1, 0.5).returns(0), first.returns(0));
}

// Episode i starts from the i-th initial state, however many are played with it.
TEST(EvaluationTest, MoreEpisodesBeginWithTheSameOnes) {
  const v1::EvaluationResult few = Play(Config("Pendulum-v1"), 3, 1);
  v1::EvaluationResult many = Play(Config("Pendulum-v1"), 70, 1);
  many.mutable_returns()->Truncate(3);
  EXPECT_THAT(many.returns(), ElementsAreArray(few.returns()));
}

// Pushing to one side topples the pole after about ten steps; each step before that is a reward of 1.
TEST(EvaluationTest, DiscreteEpisodesOfDifferentLengthsEachEndWhereTheyEnd) {
  const v1::EvaluationResult result = Play(Config("CartPole-v1"), 20, 3, /*action=*/1);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(result.returns(i), static_cast<double>(result.lengths(i)));
    EXPECT_LT(result.lengths(i), 15);
    EXPECT_GT(result.lengths(i), 5);
  }
}

TEST(EvaluationTest, TheConfiguredTimeLimitHolds) {
  EXPECT_THAT(Play(Config("Pendulum-v1", {"environment.max_episode_steps=17"}), 4, 1).lengths(), Each(17));
}

TEST(EvaluationTest, StopsWhenItIsTold) {
  ConstantPolicy policy(0);
  int asked = 0;
  const absl::Status status = Evaluate(Config("Pendulum-v1"), policy, 10, 1, [&] { return ++asked > 3; }).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(asked, 4);
}

TEST(EvaluationTest, AnUnknownEnvironmentAndAPolicyThatThrowsAreStatuses) {
  ConstantPolicy policy(0);
  EXPECT_FALSE(Evaluate(Config("Pendulun-v1"), policy, 1, 1, [] { return false; }).ok());
  BrokenPolicy broken;
  const absl::Status status = Evaluate(Config("Pendulum-v1"), broken, 1, 1, [] { return false; }).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("cannot be multiplied"));
}

}  // namespace
}  // namespace headrace
