#include "actor/evaluation.h"

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "actor/env/registry.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

// Always the same action.
class ConstantPolicy : public Policy {
 public:
  explicit ConstantPolicy(double action) : action_(action) {}
  void Act(const at::Tensor& observations, ActMode mode, RandomStream& random, at::Tensor& recurrent_state,
           at::Tensor& actions, at::Tensor& log_probs) override {
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
  void Act(const at::Tensor&, ActMode, RandomStream&, at::Tensor&, at::Tensor&, at::Tensor&) override {
    throw std::runtime_error("mat1 and mat2 shapes cannot be multiplied");
  }
};

EvaluationOptions Options(const std::string& environment, uint32_t episodes, uint64_t seed) {
  EvaluationOptions options = {.make_environment = [environment] { return MakeEnvironment(environment); },
                               .episodes = episodes,
                               .seed = seed,
                               .should_stop = [] { return false; }};
  options.signature.add_columns()->set_name("observation");
  options.signature.mutable_columns(0)->set_data_type(v1::FLOAT32);
  return options;
}

v1::EvaluationResult Play(const EvaluationOptions& options, double action = 0) {
  ConstantPolicy policy(action);
  const absl::StatusOr<v1::EvaluationResult> result = Evaluate(options, policy);
  EXPECT_TRUE(result.ok()) << result.status();
  return result.value_or(v1::EvaluationResult());
}

TEST(EvaluationTest, PlaysAsManyEpisodesAsAskedFor) {
  for (const uint32_t episodes : {0, 1, 7, 100}) {  // 100 are played in two rounds
    const v1::EvaluationResult result = Play(Options("Pendulum-v1", episodes, 1));
    EXPECT_EQ(result.returns_size(), static_cast<int>(episodes));
    EXPECT_EQ(result.lengths_size(), static_cast<int>(episodes));
    EXPECT_THAT(result.lengths(), Each(200));
  }
}

TEST(EvaluationTest, TheSameSeedGivesTheSameReturnsAndAnotherOthers) {
  const v1::EvaluationResult first = Play(Options("Pendulum-v1", 5, 1));
  EXPECT_THAT(Play(Options("Pendulum-v1", 5, 1)).returns(), ElementsAreArray(first.returns()));
  EXPECT_NE(Play(Options("Pendulum-v1", 5, 2)).returns(0), first.returns(0));
  EXPECT_NE(Play(Options("Pendulum-v1", 5, 1), 0.5).returns(0), first.returns(0));
}

// Episode i starts from the i-th initial state, however many are played with it.
TEST(EvaluationTest, MoreEpisodesBeginWithTheSameOnes) {
  const v1::EvaluationResult few = Play(Options("Pendulum-v1", 3, 1));
  v1::EvaluationResult many = Play(Options("Pendulum-v1", 70, 1));
  many.mutable_returns()->Truncate(3);
  EXPECT_THAT(many.returns(), ElementsAreArray(few.returns()));
}

// Pushing to one side topples the pole after about ten steps; each step before that is a reward of 1.
TEST(EvaluationTest, DiscreteEpisodesOfDifferentLengthsEachEndWhereTheyEnd) {
  const v1::EvaluationResult result = Play(Options("CartPole-v1", 20, 3), /*action=*/1);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(result.returns(i), static_cast<double>(result.lengths(i)));
    EXPECT_LT(result.lengths(i), 15);
    EXPECT_GT(result.lengths(i), 5);
  }
}

TEST(EvaluationTest, TheConfiguredTimeLimitHolds) {
  EvaluationOptions options = Options("Pendulum-v1", 4, 1);
  options.max_episode_steps = 17;
  EXPECT_THAT(Play(options).lengths(), Each(17));
}

TEST(EvaluationTest, StopsWhenItIsTold) {
  ConstantPolicy policy(0);
  int asked = 0;
  EvaluationOptions options = Options("Pendulum-v1", 10, 1);
  options.should_stop = [&] { return ++asked > 3; };
  const absl::Status status = Evaluate(options, policy).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(asked, 4);
}

TEST(EvaluationTest, AnUnknownEnvironmentAndAPolicyThatThrowsAreStatuses) {
  ConstantPolicy policy(0);
  EXPECT_EQ(Evaluate(Options("Pendulun-v1", 1, 1), policy).status().code(), absl::StatusCode::kInvalidArgument);
  BrokenPolicy broken;
  const absl::Status status = Evaluate(Options("Pendulum-v1", 1, 1), broken).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("cannot be multiplied"));
}

// Its episodes have 2 steps in the first environment that is made, 4 in the second, and so on; `crashes` of all steps
// fail. Each step earns 1.
class Workshop {
 public:
  explicit Workshop(int crashes = 0) : crashes_(crashes) {}

  EvaluationOptions Options(uint32_t episodes) {
    EvaluationOptions options = headrace::Options("", episodes, 1);
    options.make_environment = [this] { return std::make_unique<Product>(this, 2 * ++made_); };
    return options;
  }
  int steps() const { return steps_; }

 private:
  class Product final : public Environment {
   public:
    Product(Workshop* workshop, int length) : workshop_(workshop), length_(length) {
      facts_.observation.shape = {1};
      facts_.action = {.low = {-1}, .high = {1}};
    }
    const EnvironmentFacts& facts() const override { return facts_; }
    void Reset(RandomStream&, std::span<std::byte> observation) override {
      t_ = 0;
      As<float>(observation)[0] = 0;
    }
    StepResult Step(const Action&, std::span<std::byte> observation) override {
      ++workshop_->steps_;
      if (t_ == 1 && workshop_->crashes_-- > 0) throw std::runtime_error("the simulator fell over");
      As<float>(observation)[0] = 0;
      return {.reward = 1, .terminated = ++t_ == length_};
    }
    std::vector<double> State() const override { return {}; }
    absl::Status SetState(std::span<const double>) override { return absl::OkStatus(); }

   private:
    Workshop* const workshop_;
    const int length_;
    EnvironmentFacts facts_;
    int t_ = 0;
  };

  int crashes_;
  int made_ = 0;
  int steps_ = 0;
};

// One crash used to cost all episodes.
TEST(EvaluationTest, AnEpisodeThatIsBrokenOffIsPlayedAgain) {
  Workshop workshop(/*crashes=*/2);
  EXPECT_THAT(Play(workshop.Options(3)).lengths(), ElementsAre(2, 4, 6));
}

TEST(EvaluationTest, AnEpisodeThatIsBrokenOffAgainAndAgainFailsWithTheCause) {
  Workshop workshop(/*crashes=*/1000);
  ConstantPolicy policy(0);
  const absl::Status status = Evaluate(workshop.Options(3), policy).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("the simulator fell over"));
}

TEST(EvaluationTest, LanesThatAreDoneAreNotStepped) {
  Workshop workshop;
  Play(workshop.Options(3));
  EXPECT_EQ(workshop.steps(), 2 + 4 + 6);
}

// Acts until an episode of lane i has 2 i + 2 steps; one is broken off after its first step and begins anew.
TEST(EvaluationTest, EveryEpisodeBeginsWithoutMemory) {
  class CountingPolicy : public ConstantPolicy {
   public:
    CountingPolicy() : ConstantPolicy(0) {}
    void Act(const at::Tensor& observations, ActMode mode, RandomStream& random, at::Tensor& recurrent_state,
             at::Tensor& actions, at::Tensor& log_probs) override {
      std::vector<int> before;
      for (int64_t lane = 0; lane < recurrent_state.size(0); ++lane) {
        before.push_back(static_cast<int>(recurrent_state[lane][0].item<float>()));
      }
      steps.push_back(before);
      recurrent_state += 1;
      ConstantPolicy::Act(observations, mode, random, recurrent_state, actions, log_probs);
    }
    std::vector<std::vector<int>> steps;  // of each lane's memory
  } policy;
  Workshop workshop(/*crashes=*/1);
  EvaluationOptions options = workshop.Options(2);
  v1::Column& column = *options.signature.add_columns();
  column.set_name("recurrent_state");
  column.set_data_type(v1::FLOAT32);
  column.add_shape(1);
  ASSERT_TRUE(Evaluate(options, policy).ok());
  // The second step of lane 0 crashes.
  ASSERT_EQ(policy.steps.size(), 4u);
  EXPECT_THAT(policy.steps[0], ElementsAre(0, 0));
  EXPECT_THAT(policy.steps[1], ElementsAre(1, 1));
  EXPECT_THAT(policy.steps[2], ElementsAre(0, 2));
  EXPECT_THAT(policy.steps[3], ElementsAre(1, 3));
  policy.steps.clear();
  ASSERT_TRUE(Evaluate(options, policy).ok());
  EXPECT_THAT(policy.steps[0], ElementsAre(0, 0));
}

// A policy of doubles would refuse floats.
TEST(EvaluationTest, ObservationsHaveTheTypeThatIsRecorded) {
  class TypedPolicy : public ConstantPolicy {
   public:
    TypedPolicy() : ConstantPolicy(0) {}
    void Act(const at::Tensor& observations, ActMode mode, RandomStream& random, at::Tensor& recurrent_state,
             at::Tensor& actions, at::Tensor& log_probs) override {
      type = observations.scalar_type();
      ConstantPolicy::Act(observations, mode, random, recurrent_state, actions, log_probs);
    }
    at::ScalarType type = at::kInt;
  } policy;
  EvaluationOptions options = Options("HalfCheetah-v5", 1, 1);
  ASSERT_EQ((*options.make_environment())->facts().observation.data_type, v1::FLOAT64);
  options.max_episode_steps = 1;
  for (const auto& [recorded, type] : {std::pair{v1::FLOAT32, at::kFloat}, std::pair{v1::FLOAT64, at::kDouble}}) {
    options.signature.mutable_columns(0)->set_data_type(recorded);
    ASSERT_TRUE(Evaluate(options, policy).ok());
    EXPECT_EQ(policy.type, type);
  }
}

}  // namespace
}  // namespace headrace
