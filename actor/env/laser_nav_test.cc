#include <cmath>
#include <set>
#include <vector>

#include "actor/env/environment.h"
#include "actor/env/laser_map.h"
#include "actor/env/registry.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

constexpr int kForward = 0;
constexpr int kTurnLeft = 1;
constexpr int kBeams = 36;
constexpr double kRadius = 0.2;

// What State() holds.
enum { kMap, kX, kY, kHeading, kGoalColumn, kGoalRow, kWholeWay, kWay, kNoise };

class Robot {
 public:
  explicit Robot(const std::string& name) : environment_(*MakeEnvironment(name)) {}

  void Reset() { environment_->Reset(random_, observation_); }
  StepResult Step(int action) { return environment_->Step({.discrete = action}, observation_); }
  std::vector<double> state() const { return environment_->State(); }
  void set_state(const std::vector<double>& state) { ASSERT_TRUE(environment_->SetState(state).ok()); }
  std::span<const float> observation() { return As<float>(observation_); }
  int actions() const { return environment_->facts().action.discrete; }

 private:
  const std::unique_ptr<Environment> environment_;
  RandomStream random_{1, StreamRole::kTest, 0, StreamPurpose::kEnvironment};
  std::vector<std::byte> observation_ = std::vector<std::byte>(environment_->facts().observation.bytes());
};

std::set<int> MapsOf(const std::string& name) {
  Robot robot(name);
  std::set<int> maps;
  for (int i = 0; i < 2000; ++i) {
    robot.Reset();
    maps.insert(static_cast<int>(robot.state()[kMap]));
  }
  return maps;
}

TEST(LaserNavTest, EvaluatesOnOtherMapsThanItTrainsOn) {
  const std::set<int> training = MapsOf("LaserNav-v0"), unseen = MapsOf("LaserNavUnseen-v0");
  EXPECT_EQ(training.size(), 200u);
  EXPECT_EQ(unseen.size(), 50u);
  for (const int map : unseen) EXPECT_FALSE(training.contains(map));
  EXPECT_EQ(MapsOf("LaserNavNoiseless-v0"), training);
}

TEST(LaserNavTest, StartsClearOfWallsAndFarFromTheGoal) {
  Robot robot("LaserNavNoiseless-v0");
  for (int i = 0; i < 500; ++i) {
    robot.Reset();
    const std::vector<double> state = robot.state();
    const LaserMap map = LaserMap::Generate(static_cast<uint64_t>(state[kMap]));
    EXPECT_FALSE(map.Touches(state[kX], state[kY], kRadius));
    const LaserMap::Distances way =
        map.DistancesTo({static_cast<int>(state[kGoalColumn]), static_cast<int>(state[kGoalRow])});
    EXPECT_GE(way.At(state[kX], state[kY]), 3 - 1e-6);
    EXPECT_LT(way.At(state[kX], state[kY]), 60);
  }
}

TEST(LaserNavTest, DrivingOnEndsWithACollisionWhereThePathMeetsAWall) {
  Robot robot("LaserNavNoiseless-v0");
  int collisions = 0;
  for (int episode = 0; episode < 50; ++episode) {
    robot.Reset();
    const std::vector<double> start = robot.state();
    const LaserMap map = LaserMap::Generate(static_cast<uint64_t>(start[kMap]));
    StepResult result;
    int steps = 0;
    for (; !result.terminated; ++steps) {
      ASSERT_LT(steps, 200);
      result = robot.Step(kForward);
      ASSERT_FALSE(map.Touches(robot.state()[kX], robot.state()[kY], kRadius));
    }
    if (result.reward > 0) continue;  // the goal was in the way
    ++collisions;
    EXPECT_NEAR(result.reward, -1.001, 1e-9);  // no way is gone in that step
    const double length = 0.15 * steps;
    EXPECT_TRUE(map.Touches(start[kX] + length * std::cos(start[kHeading]),
                            start[kY] + length * std::sin(start[kHeading]), kRadius));
  }
  EXPECT_GT(collisions, 40);
}

TEST(LaserNavTest, ReachingTheGoalEarnsWhatTellsSuccessFromFailure) {
  Robot robot("LaserNavNoiseless-v0");
  int reached = 0;
  for (int episode = 0; episode < 12; ++episode) {
    robot.Reset();
    double episode_return = 0;
    bool success = false;
    for (int step = 0; step < 300; ++step) {
      // Of all actions the one after which the way is shortest, looking two steps ahead.
      const std::vector<double> state = robot.state();
      int best = 0;
      double best_sum = -INFINITY;
      for (int first = 0; first < robot.actions(); ++first) {
        for (int second = 0; second < robot.actions(); ++second) {
          robot.set_state(state);
          const StepResult now = robot.Step(first);
          const double sum = now.reward + (now.terminated ? 0 : robot.Step(second).reward);
          if (sum <= best_sum) continue;
          best = first;
          best_sum = sum;
        }
      }
      robot.set_state(state);
      const StepResult result = robot.Step(best);
      episode_return += result.reward;
      success = result.terminated && result.reward > 0;
      if (result.terminated) break;
    }
    reached += success ? 1 : 0;
    if (success) {
      EXPECT_GT(episode_return, 1.5);
      EXPECT_LT(episode_return, 2);
    } else {
      EXPECT_LT(episode_return, 1);
    }
  }
  EXPECT_GT(reached, 8);
}

TEST(LaserNavTest, ShowsTheGoalFromTheRobot) {
  Robot robot("LaserNavNoiseless-v0");
  robot.Reset();
  for (int step = 0; step < 30; ++step) {
    const std::vector<double> state = robot.state();
    const double ahead = robot.observation()[kBeams] * 10;
    const double angle = state[kHeading] + std::atan2(robot.observation()[kBeams + 1], robot.observation()[kBeams + 2]);
    EXPECT_NEAR(state[kX] + ahead * std::cos(angle), (state[kGoalColumn] + 0.5) * 0.25, 1e-5);
    EXPECT_NEAR(state[kY] + ahead * std::sin(angle), (state[kGoalRow] + 0.5) * 0.25, 1e-5);
    robot.Step(kTurnLeft);
  }
}

TEST(LaserNavTest, TurningMovesTheScanFromLeftToRight) {
  // A turn of 0.375 rad is not a whole number of beams, so the beams are compared with rays.
  Robot robot("LaserNavNoiseless-v0");
  robot.Reset();
  const LaserMap map = LaserMap::Generate(static_cast<uint64_t>(robot.state()[kMap]));
  for (int step = 0; step < 20; ++step) {
    const std::vector<double> state = robot.state();
    for (int beam = 0; beam < kBeams; ++beam) {
      const double angle = state[kHeading] + (-135 + 270.0 * beam / (kBeams - 1)) * M_PI / 180;
      EXPECT_NEAR(robot.observation()[beam] * 5, map.Ray(state[kX], state[kY], std::cos(angle), std::sin(angle), 5),
                  1e-4);
    }
    robot.Step(kTurnLeft);
    EXPECT_NEAR(std::remainder(robot.state()[kHeading] - state[kHeading], 2 * M_PI), 0.375, 1e-12);
  }
}

TEST(LaserNavTest, NoiseHasTheEpisodesDeviationAndLosesSomeBeams) {
  Robot noisy("LaserNav-v0"), exact("LaserNavNoiseless-v0");
  noisy.Reset();
  exact.Reset();
  const std::vector<double> state = noisy.state();
  EXPECT_GE(state[kNoise], 0.02);
  EXPECT_LE(state[kNoise], 0.1);
  exact.set_state(state);
  int lost = 0, inside = 0;
  double squares = 0;
  for (int step = 0; step < 1000; ++step) {
    exact.Step(kTurnLeft);
    noisy.Step(kTurnLeft);
    for (int beam = 0; beam < kBeams; ++beam) {
      const double length = exact.observation()[beam] * 5, difference = noisy.observation()[beam] * 5 - length;
      if (length < 0.5 || length > 4) continue;  // clipped noise, or a loss that looks like it
      ++inside;
      if (std::abs(difference) > 0.6) {
        ++lost;
      } else {
        squares += difference * difference;
      }
    }
  }
  ASSERT_GT(inside, 5000);
  EXPECT_NEAR(static_cast<double>(lost) / inside, 0.02, 6 * std::sqrt(0.02 * 0.98 / inside));
  EXPECT_NEAR(std::sqrt(squares / (inside - lost)) / state[kNoise], 1, 6 * std::sqrt(0.5 / inside));
}

}  // namespace
}  // namespace headrace
