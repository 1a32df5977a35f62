// What every environment of the registry must do. A new line in registry.cc is tested by this without further ado.
#include <algorithm>
#include <cmath>
#include <ostream>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "actor/env/environment.h"
#include "actor/env/registry.h"
#include "actor/env/vector_environment.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {

void PrintTo(const EnvironmentFacts& facts, std::ostream* out) { *out << facts.name; }

namespace {

constexpr int kSteps = 300;

RandomStream ResetStream(uint64_t seed) {
  return RandomStream(seed, StreamRole::kTest, 0, StreamPurpose::kEnvironment);
}

struct Transition {
  std::vector<std::byte> observation;  // after the step; of the first transition, after Reset
  double reward = 0;
  bool terminated = false;

  bool operator==(const Transition&) const = default;
};

using Trajectory = std::vector<Transition>;

// An environment, a stream for its resets and a buffer for its observations.
class Player {
 public:
  Player(const std::string& name, uint64_t seed) : environment_(*MakeEnvironment(name)), random_(ResetStream(seed)) {
    observation_.resize(environment_->facts().observation.bytes());
  }

  Environment& environment() { return *environment_; }
  // What resets draw from, and steps too if they are random.
  RandomStream& random() { return random_; }

  Transition Reset() {
    environment_->Reset(random_, observation_);
    return {.observation = observation_};
  }

  // Actions are within the bounds: drawn from them, or one of the bounds in each dimension.
  Transition Step(RandomStream& choice, bool extreme = false) {
    const ActionSpec& spec = environment_->facts().action;
    std::vector<double> action(spec.continuous() ? spec.dimensions() : 0);
    for (size_t i = 0; i < action.size(); ++i) {
      const double fraction = extreme ? static_cast<double>(choice.Below(2)) : choice.Uniform();
      action[i] = std::clamp(spec.low[i] + fraction * (spec.high[i] - spec.low[i]), spec.low[i], spec.high[i]);
    }
    const int discrete = spec.continuous() ? 0 : static_cast<int>(choice.Below(spec.discrete));
    const StepResult result = environment_->Step({.continuous = action, .discrete = discrete}, observation_);
    return {.observation = observation_, .reward = result.reward, .terminated = result.terminated};
  }

  // From a reset on, with a reset after each terminal state.
  Trajectory Play(int steps, RandomStream choice, bool extreme = false) {
    Trajectory trajectory = {Reset()};
    for (int i = 0; i < steps; ++i) {
      trajectory.push_back(trajectory.back().terminated ? Reset() : Step(choice, extreme));
    }
    return trajectory;
  }

 private:
  std::unique_ptr<Environment> environment_;
  RandomStream random_;
  std::vector<std::byte> observation_;
};

RandomStream Choice(uint64_t seed = 0) { return RandomStream(seed, StreamRole::kTest, 0, StreamPurpose::kExploration); }

template <typename T>
bool AllFiniteAs(std::vector<std::byte> observation) {
  const std::span<T> numbers = As<T>(observation);
  return std::all_of(numbers.begin(), numbers.end(), [](T number) { return std::isfinite(number); });
}

class ConformanceTest : public testing::TestWithParam<EnvironmentFacts> {
 protected:
  const EnvironmentFacts& facts() const { return GetParam(); }

  bool Finite(const Transition& transition) const {
    if (!std::isfinite(transition.reward)) return false;
    if (facts().observation.data_type == v1::FLOAT32) return AllFiniteAs<float>(transition.observation);
    if (facts().observation.data_type == v1::FLOAT64) return AllFiniteAs<double>(transition.observation);
    return true;
  }
};

TEST_P(ConformanceTest, FactsAreComplete) {
  EXPECT_THAT(facts().name, testing::MatchesRegex(".+-v[0-9]+"));
  EXPECT_FALSE(facts().summary.empty());
  EXPECT_FALSE(facts().source.empty());
  EXPECT_EQ(facts().summary.find('\n'), std::string::npos);
  EXPECT_GE(facts().max_episode_steps, 0);
  EXPECT_FALSE(std::isinf(facts().reward_threshold));
  EXPECT_EQ((*MakeEnvironment(facts().name))->facts().name, facts().name);
}

TEST_P(ConformanceTest, SpecsDescribeArrays) {
  EXPECT_GT(facts().observation.bytes(), 0u);
  EXPECT_THAT(facts().observation.data_type, testing::AnyOf(v1::FLOAT32, v1::FLOAT64, v1::UINT8, v1::INT32, v1::INT64));
  const ActionSpec& action = facts().action;
  if (!action.continuous()) {
    EXPECT_GE(action.discrete, 2);
    EXPECT_TRUE(action.low.empty() && action.high.empty());
    return;
  }
  ASSERT_GT(action.low.size(), 0u);
  ASSERT_EQ(action.low.size(), action.high.size());
  for (size_t i = 0; i < action.low.size(); ++i) {
    EXPECT_TRUE(std::isfinite(action.low[i]) && std::isfinite(action.high[i]));
    EXPECT_LT(action.low[i], action.high[i]);
  }
}

TEST_P(ConformanceTest, SameSeedSameTrajectory) {
  const Trajectory trajectory = Player(facts().name, 1).Play(kSteps, Choice());
  EXPECT_EQ(Player(facts().name, 1).Play(kSteps, Choice()), trajectory);
}

TEST_P(ConformanceTest, DifferentSeedsDiffer) {
  EXPECT_NE(Player(facts().name, 1).Play(kSteps, Choice()), Player(facts().name, 2).Play(kSteps, Choice()));
}

TEST_P(ConformanceTest, DifferentActionsDiffer) {
  EXPECT_NE(Player(facts().name, 1).Play(kSteps, Choice(0)), Player(facts().name, 1).Play(kSteps, Choice(1)));
}

TEST_P(ConformanceTest, AnEpisodeDoesNotDependOnThoseBefore) {
  Player used(facts().name, 1), fresh(facts().name, 1);
  used.Play(kSteps, Choice());
  RandomStream random = ResetStream(9), same_random = ResetStream(9);
  std::vector<std::byte> observation(facts().observation.bytes()), same(observation.size());
  used.environment().Reset(random, observation);
  fresh.environment().Reset(same_random, same);
  EXPECT_EQ(observation, same);

  RandomStream choice = Choice(), same_choice = Choice();
  for (bool terminated = false; !terminated && choice.position() < 20;) {
    const Transition transition = used.Step(choice);
    EXPECT_EQ(fresh.Step(same_choice), transition);
    terminated = transition.terminated;
  }
}

TEST_P(ConformanceTest, ObjectsOnDifferentThreadsDoNotDisturbEachOther) {
  const Trajectory first = Player(facts().name, 1).Play(kSteps, Choice());
  const Trajectory second = Player(facts().name, 2).Play(kSteps, Choice());
  Trajectory other;
  std::thread thread([&] { other = Player(facts().name, 2).Play(kSteps, Choice()); });
  EXPECT_EQ(Player(facts().name, 1).Play(kSteps, Choice()), first);
  thread.join();
  EXPECT_EQ(other, second);
}

TEST_P(ConformanceTest, FillsItsObservationAndNothingElse) {
  constexpr size_t kGuard = 64;
  const size_t bytes = facts().observation.bytes();
  std::vector<std::vector<std::byte>> observed;
  for (const std::byte filler : {std::byte{0x00}, std::byte{0xA5}}) {
    Player player(facts().name, 1);
    std::vector<std::byte> buffer(bytes + 2 * kGuard, filler);
    const std::span<std::byte> observation(buffer.data() + kGuard, bytes);
    RandomStream random = ResetStream(1);
    player.environment().Reset(random, observation);
    observed.emplace_back(observation.begin(), observation.end());

    std::fill(buffer.begin(), buffer.end(), filler);
    const std::vector<double> action = facts().action.low;
    player.environment().Step({.continuous = action}, observation);
    observed.emplace_back(observation.begin(), observation.end());
    EXPECT_EQ(std::count(buffer.begin(), buffer.begin() + kGuard, filler), kGuard);
    EXPECT_EQ(std::count(buffer.end() - kGuard, buffer.end(), filler), kGuard);
  }
  EXPECT_EQ(observed[0], observed[2]);  // a byte that is not written would keep its filler
  EXPECT_EQ(observed[1], observed[3]);
}

TEST_P(ConformanceTest, NumbersAreFinite) {
  for (bool extreme : {false, true}) {
    for (const Transition& transition : Player(facts().name, 3).Play(kSteps, Choice(), extreme)) {
      ASSERT_TRUE(Finite(transition));
    }
  }
}

TEST_P(ConformanceTest, BearsTheSameExtremeActionThroughout) {
  const ActionSpec& spec = facts().action;
  for (bool high : {false, true}) {
    Player player(facts().name, 4);
    std::vector<std::byte> observation = player.Reset().observation;
    for (int i = 0; i < kSteps; ++i) {
      const StepResult result = player.environment().Step(
          {.continuous = high ? spec.high : spec.low, .discrete = high && !spec.continuous() ? spec.discrete - 1 : 0},
          observation);
      ASSERT_TRUE(Finite({.observation = observation, .reward = result.reward}));
      if (result.terminated) observation = player.Reset().observation;
    }
  }
}

TEST_P(ConformanceTest, ContinuesFromAState) {
  Player player(facts().name, 5), other(facts().name, 6);
  RandomStream choice = Choice();
  player.Reset();
  for (int i = 0; i < 5; ++i) {
    if (player.Step(choice).terminated) player.Reset();
  }
  other.Play(20, Choice());

  const std::vector<double> state = player.environment().State();
  ASSERT_TRUE(other.environment().SetState(state).ok());
  EXPECT_EQ(other.environment().State(), state);
  other.random() = player.random();
  RandomStream same_choice = choice;
  for (bool terminated = false; !terminated && choice.position() < 60;) {
    const Transition transition = player.Step(choice);
    ASSERT_EQ(other.Step(same_choice), transition);
    terminated = transition.terminated;
  }
  EXPECT_EQ(other.environment().State(), player.environment().State());
}

TEST_P(ConformanceTest, ReturnsToAState) {
  Player player(facts().name, 5);
  RandomStream choice = Choice();
  player.Reset();
  const std::vector<double> state = player.environment().State();
  const RandomStream random = player.random();
  const Transition transition = player.Step(choice);
  ASSERT_TRUE(player.environment().SetState(state).ok());
  player.random() = random;
  choice = Choice();
  EXPECT_EQ(player.Step(choice), transition);
}

TEST_P(ConformanceTest, RefusesAStateOfAnotherSize) {
  Player player(facts().name, 7);
  player.Reset();
  const std::vector<double> state = player.environment().State();
  std::vector<double> longer = state;
  longer.push_back(0);
  EXPECT_EQ(player.environment().SetState(longer).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(player.environment().SetState({}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(player.environment().State(), state);
}

// Lanes against a bare environment that gets the same seed and actions: normalised actions of -0.5, or action 0.
TEST_P(ConformanceTest, LanesAddTimeLimitAndAutoreset) {
  constexpr int kLimit = 7;
  const auto lanes = *VectorEnvironment::Create(facts().name, {.seed = 8, .max_episode_steps = kLimit});
  const auto bare = *MakeEnvironment(facts().name);
  RandomStream random(8, StreamRole::kActor, 0, StreamPurpose::kEnvironment);
  std::vector<std::byte> observation(facts().observation.bytes());
  const std::vector<float> normalised(facts().action.dimensions(), -0.5f);
  std::vector<double> action;
  for (size_t i = 0; i < facts().action.low.size(); ++i) {
    const double low = facts().action.low[i], high = facts().action.high[i];
    action.push_back(-0.5 * (high - low) / 2 + (high + low) / 2);
  }

  bare->Reset(random, observation);
  int length = 0;
  for (int i = 0; i < 5 * kLimit; ++i) {
    ASSERT_THAT(lanes->observations(), testing::ElementsAreArray(observation));
    ASSERT_TRUE((facts().action.continuous() ? lanes->Step(normalised) : lanes->Step(std::vector<int32_t>{0})).ok());
    const StepResult result = bare->Step({.continuous = action}, observation);
    ++length;

    const LaneStep& step = lanes->steps()[0];
    ASSERT_FALSE(step.interrupted) << step.cause;
    EXPECT_EQ(step.reward, result.reward);
    EXPECT_EQ(step.terminated, result.terminated);
    EXPECT_EQ(step.truncated, length == kLimit);
    EXPECT_EQ(step.episode_length, length);
    if (step.done()) {
      ASSERT_THAT(lanes->final_observation(0), testing::ElementsAreArray(observation));
      bare->Reset(random, observation);
      length = 0;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Registry, ConformanceTest, testing::ValuesIn(AllEnvironments()), [](const auto& tested) {
  std::string name = tested.param.name;
  std::replace_if(
      name.begin(), name.end(), [](char letter) { return !std::isalnum(letter); }, '_');
  return name;
});

TEST(RegistryConformanceTest, NamesAreUnique) {
  std::set<std::string> names;
  for (const EnvironmentFacts& facts : AllEnvironments()) EXPECT_TRUE(names.insert(facts.name).second) << facts.name;
}

}  // namespace
}  // namespace headrace
