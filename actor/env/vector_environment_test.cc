#include "actor/env/vector_environment.h"

#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Which steps of an episode (the first is 1) do what; 0: none does.
struct Script {
  int terminates = 0;
  int throws = 0;
  int throws_int = 0;
  int observes_nan = 0;
  int rewards_infinity = 0;
  int rewards_beyond_float = 0;
  int failing_resets = 0;  // of all resets after the first, so many fail
  bool observes_nan_on_reset = false;
};

// Observes (number of the episode, steps in it); rewards a[0] + 10 a[1], or the discrete action.
class ScriptedEnvironment final : public Environment {
 public:
  explicit ScriptedEnvironment(Script script, int discrete = 0, int max_episode_steps = 0)
      : script_(script),
        facts_{.name = "Scripted",
               .summary = "does what it is told",
               .source = "this test",
               .observation = {.data_type = v1::FLOAT32, .shape = {2}},
               .action = {.low = {-1, 0}, .high = {1, 4}, .discrete = discrete},
               .max_episode_steps = max_episode_steps} {}

  const EnvironmentFacts& facts() const override { return facts_; }

  void Reset(RandomStream& random, std::span<std::byte> observation) override {
    if (episode_ > 0 && script_.failing_resets-- > 0) throw std::runtime_error("no reset today");
    ++episode_;
    steps_ = 0;
    Observe(observation);
    if (script_.observes_nan_on_reset) As<float>(observation)[0] = kNan;
  }

  StepResult Step(const Action& action, std::span<std::byte> observation) override {
    ++steps_;
    Observe(observation);
    if (steps_ == script_.throws) throw std::runtime_error("the motor burnt out");
    if (steps_ == script_.throws_int) throw 7;
    if (steps_ == script_.observes_nan) As<float>(observation)[1] = kNan;
    double reward = facts_.action.continuous() ? action.continuous[0] + 10 * action.continuous[1] : action.discrete;
    if (steps_ == script_.rewards_infinity) reward = std::numeric_limits<double>::infinity();
    if (steps_ == script_.rewards_beyond_float) reward = -1e39;
    return {.reward = reward, .terminated = steps_ == script_.terminates};
  }

  std::vector<double> State() const override { return {}; }
  absl::Status SetState(std::span<const double>) override { return absl::OkStatus(); }

 private:
  void Observe(std::span<std::byte> observation) const {
    As<float>(observation)[0] = static_cast<float>(episode_);
    As<float>(observation)[1] = static_cast<float>(steps_);
  }

  Script script_;
  const EnvironmentFacts facts_;
  int episode_ = 0;
  int steps_ = 0;
};

absl::StatusOr<std::unique_ptr<VectorEnvironment>> TryMake(std::vector<Script> scripts, int max_episode_steps = 0) {
  std::vector<std::unique_ptr<Environment>> environments;
  for (Script script : scripts) environments.push_back(std::make_unique<ScriptedEnvironment>(script));
  return VectorEnvironment::Create(std::move(environments),
                                   {.lanes = static_cast<int>(scripts.size()), .max_episode_steps = max_episode_steps});
}

std::unique_ptr<VectorEnvironment> Make(std::vector<Script> scripts, int max_episode_steps = 0) {
  return *TryMake(std::move(scripts), max_episode_steps);
}

std::vector<float> Floats(std::span<const std::byte> bytes) {
  const auto* numbers = reinterpret_cast<const float*>(bytes.data());
  return {numbers, numbers + bytes.size() / sizeof(float)};
}

// Every lane's action is (0, -1): in the environment's units (0, 0), which earns 0.
void StepTimes(VectorEnvironment& lanes, int times) {
  std::vector<float> actions;
  for (int lane = 0; lane < lanes.size(); ++lane) actions.insert(actions.end(), {0, -1});
  for (int i = 0; i < times; ++i) ASSERT_TRUE(lanes.Step(actions).ok());
}

TEST(VectorEnvironmentTest, StartsAnEpisodeInEveryLane) {
  const auto lanes = Make({{}, {}, {}});
  EXPECT_EQ(lanes->size(), 3);
  EXPECT_THAT(Floats(lanes->observations()), ElementsAre(1, 0, 1, 0, 1, 0));
}

TEST(VectorEnvironmentTest, RescalesNormalisedActionsToTheBounds) {
  const auto lanes = Make({{}, {}, {}, {}});
  // Bounds [-1, 1] and [0, 4]: (1, 1) is (1, 4); (-1, -1) is (-1, 0); (0, 0) is (0, 2); (9, -9) is clipped to (1, 0).
  ASSERT_TRUE(lanes->Step(std::vector<float>{1, 1, -1, -1, 0, 0, 9, -9}).ok());
  EXPECT_DOUBLE_EQ(lanes->steps()[0].reward, 41);
  EXPECT_DOUBLE_EQ(lanes->steps()[1].reward, -1);
  EXPECT_DOUBLE_EQ(lanes->steps()[2].reward, 20);
  EXPECT_DOUBLE_EQ(lanes->steps()[3].reward, 1);
}

TEST(VectorEnvironmentTest, PassesDiscreteActionsOn) {
  std::vector<std::unique_ptr<Environment>> environments;
  for (int i = 0; i < 2; ++i) environments.push_back(std::make_unique<ScriptedEnvironment>(Script{}, /*discrete=*/3));
  const auto lanes = *VectorEnvironment::Create(std::move(environments), {.lanes = 2});
  ASSERT_TRUE(lanes->Step(std::vector<int32_t>{2, 0}).ok());
  EXPECT_EQ(lanes->steps()[0].reward, 2);
  EXPECT_EQ(lanes->steps()[1].reward, 0);

  const absl::Status out_of_range = lanes->Step(std::vector<int32_t>{0, 3});
  EXPECT_EQ(out_of_range.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(out_of_range.message()), HasSubstr("action 3 of lane 1 of Scripted is not in [0, 3)"));
  EXPECT_EQ(lanes->Step(std::vector<int32_t>{0, -1}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(lanes->Step(std::vector<float>{0, 0}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(lanes->steps()[0].episode_length, 1);
}

TEST(VectorEnvironmentTest, RefusesBadActionsWithoutSteppingAnyLane) {
  const auto lanes = Make({{}, {}});
  const absl::Status too_few = lanes->Step(std::vector<float>{0, 0, 0});
  EXPECT_EQ(too_few.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(too_few.message()), HasSubstr("take 4 numbers as actions, got 3"));
  const absl::Status not_a_number = lanes->Step(std::vector<float>{0, 0, 0, kNan});
  EXPECT_EQ(not_a_number.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(not_a_number.message()), HasSubstr("action[1] of lane 1 of Scripted"));
  EXPECT_EQ(lanes->Step(std::vector<int32_t>{0, 0}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Floats(lanes->observations()), ElementsAre(1, 0, 1, 0));
}

TEST(VectorEnvironmentTest, KeepsTheFinalObservationOfATerminatedEpisode) {
  const auto lanes = Make({{.terminates = 2}, {}});
  StepTimes(*lanes, 2);
  EXPECT_TRUE(lanes->steps()[0].terminated);
  EXPECT_FALSE(lanes->steps()[0].truncated);
  EXPECT_EQ(lanes->steps()[0].episode_length, 2);
  EXPECT_THAT(Floats(lanes->final_observation(0)), ElementsAre(1, 2));
  EXPECT_FALSE(lanes->steps()[1].done());
  EXPECT_THAT(Floats(lanes->observations()), ElementsAre(2, 0, 1, 2));  // lane 0 has begun its second episode
}

TEST(VectorEnvironmentTest, TruncatesAtTheTimeLimit) {
  const auto lanes = Make({{}}, /*max_episode_steps=*/3);
  StepTimes(*lanes, 2);
  EXPECT_FALSE(lanes->steps()[0].done());
  StepTimes(*lanes, 1);
  EXPECT_TRUE(lanes->steps()[0].truncated);
  EXPECT_FALSE(lanes->steps()[0].terminated);
  EXPECT_THAT(Floats(lanes->final_observation(0)), ElementsAre(1, 3));
  EXPECT_THAT(Floats(lanes->observations()), ElementsAre(2, 0));
  StepTimes(*lanes, 3);
  EXPECT_TRUE(lanes->steps()[0].truncated);
}

TEST(VectorEnvironmentTest, TheLimitOfTheFactsHoldsUnlessAnotherIsGiven) {
  for (const auto& [option, expected] : std::vector<std::pair<int, int>>{{0, 5}, {2, 2}, {9, 9}}) {
    std::vector<std::unique_ptr<Environment>> environments;
    environments.push_back(std::make_unique<ScriptedEnvironment>(Script{}, 0, /*max_episode_steps=*/5));
    const auto lanes = *VectorEnvironment::Create(std::move(environments), {.max_episode_steps = option});
    EXPECT_EQ(lanes->max_episode_steps(), expected);
    StepTimes(*lanes, expected - 1);
    EXPECT_FALSE(lanes->steps()[0].done());
    StepTimes(*lanes, 1);
    EXPECT_TRUE(lanes->steps()[0].truncated);
  }
}

TEST(VectorEnvironmentTest, ReportsBothFlagsWhenTheLastStepAlsoTerminates) {
  const auto lanes = Make({{.terminates = 3}}, /*max_episode_steps=*/3);
  StepTimes(*lanes, 3);
  EXPECT_TRUE(lanes->steps()[0].terminated);
  EXPECT_TRUE(lanes->steps()[0].truncated);
}

TEST(VectorEnvironmentTest, SumsTheReturnOfEachEpisode) {
  const auto lanes = Make({{.terminates = 3}});
  for (int step = 1; step <= 4; ++step) {
    ASSERT_TRUE(lanes->Step(std::vector<float>{1, -1}).ok());  // earns 1
    EXPECT_DOUBLE_EQ(lanes->steps()[0].episode_return, step == 4 ? 1 : step);
    EXPECT_EQ(lanes->steps()[0].episode_length, step == 4 ? 1 : step);
  }
}

struct Failure {
  const char* name;
  Script script;
  const char* cause;
};

class InterruptionTest : public testing::TestWithParam<Failure> {};

TEST_P(InterruptionTest, DropsTheStepAndStartsAnotherEpisode) {
  const auto lanes = Make({GetParam().script, {}});
  for (int step = 0; step < 3; ++step) ASSERT_TRUE(lanes->Step(std::vector<float>{1, -1, 1, -1}).ok());
  const LaneStep& step = lanes->steps()[0];
  EXPECT_TRUE(step.interrupted);
  EXPECT_TRUE(step.done());
  EXPECT_FALSE(step.terminated);
  EXPECT_FALSE(step.truncated);
  EXPECT_THAT(step.cause, HasSubstr(GetParam().cause));
  EXPECT_EQ(step.reward, 0);
  EXPECT_EQ(step.episode_return, 2);  // of the two steps before
  EXPECT_EQ(step.episode_length, 2);
  EXPECT_THAT(Floats(lanes->final_observation(0)), ElementsAre(1, 2));  // what the dropped action was taken on
  EXPECT_THAT(Floats(lanes->observations()), ElementsAre(2, 0, 1, 3));  // the other lane went on

  ASSERT_TRUE(lanes->Step(std::vector<float>{1, -1, 1, -1}).ok());
  EXPECT_FALSE(lanes->steps()[0].done());
  EXPECT_EQ(lanes->steps()[0].cause, "");
  EXPECT_EQ(lanes->steps()[0].episode_length, 1);
}

INSTANTIATE_TEST_SUITE_P(
    VectorEnvironmentTest, InterruptionTest,
    testing::Values(Failure{"exception", {.throws = 3}, "the motor burnt out"},
                    Failure{"foreign_exception", {.throws_int = 3}, "not a std::exception"},
                    Failure{"observation", {.observes_nan = 3}, "observation[1] is nan"},
                    Failure{"final_observation", {.terminates = 3, .observes_nan = 3}, "observation[1] is nan"},
                    Failure{"reward", {.rewards_infinity = 3}, "reward is inf"},
                    Failure{"large_reward", {.rewards_beyond_float = 3}, "reward is -1e+39"}),
    [](const auto& tested) { return tested.param.name; });

TEST(VectorEnvironmentTest, AnInterruptedFirstStepLeavesAnEpisodeWithoutTransitions) {
  const auto lanes = Make({{.throws = 1}});
  StepTimes(*lanes, 1);
  EXPECT_TRUE(lanes->steps()[0].interrupted);
  EXPECT_EQ(lanes->steps()[0].episode_length, 0);
  EXPECT_THAT(Floats(lanes->final_observation(0)), ElementsAre(1, 0));
}

TEST(VectorEnvironmentTest, SurvivesAResetThatFailsTwice) {
  const auto lanes = Make({{.throws = 1, .failing_resets = 2}});
  StepTimes(*lanes, 1);
  EXPECT_TRUE(lanes->steps()[0].interrupted);
  EXPECT_THAT(Floats(lanes->observations()), ElementsAre(2, 0));
}

TEST(VectorEnvironmentTest, GivesUpOnAnEnvironmentThatCannotBeReset) {
  const auto lanes = Make({{}, {.terminates = 1, .failing_resets = 100}});
  const absl::Status status = lanes->Step(std::vector<float>{0, 0, 0, 0});
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("Scripted in lane 1 failed to reset 3 times in a row: no reset today"));
  EXPECT_EQ(TryMake({{.observes_nan_on_reset = true}}).status().code(), absl::StatusCode::kInternal);
}

TEST(VectorEnvironmentTest, RefusesOptionsThatMakeNoSense) {
  EXPECT_EQ(VectorEnvironment::Create("Pendulum-v1", {.lanes = 0}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(VectorEnvironment::Create("Pendulum-v1", {.max_episode_steps = -1}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(VectorEnvironment::Create("Pendulum", {}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(VectorEnvironment::Create(std::vector<std::unique_ptr<Environment>>{}, {}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(VectorEnvironmentTest, ALaneDependsOnItsGlobalIndexAlone) {
  const auto four = *VectorEnvironment::Create("Pendulum-v1", {.lanes = 4, .seed = 3});
  const auto last_two = *VectorEnvironment::Create("Pendulum-v1", {.lanes = 2, .seed = 3, .first_lane = 2});
  const size_t bytes = last_two->observations().size();
  EXPECT_EQ(Floats(four->observations().last(bytes)), Floats(last_two->observations()));
  EXPECT_NE(Floats(four->observations().first(bytes)), Floats(last_two->observations()));
}

}  // namespace
}  // namespace headrace
