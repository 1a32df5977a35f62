// A mobile robot finds its way to a goal inside a building, by a laser scanner and the direction of the goal.
//
// After "Deep Reinforcement Learning for Real Autonomous Mobile Robot Navigation in Indoor Environments" (GA3C,
// arXiv:2005.13857), with generated maps of 12 x 12 m (laser_map.h). The robot is a disc of 0.2 m radius with
// differential drive. An action holds for 0.25 s:
//
//   0 forward 0.6 m/s      1, 2 turn left, right on the spot, 1.5 rad/s      3, 4 arc left, right, 0.5 m/s and 0.8
//   rad/s
//
// Observations are 39 numbers: 36 beams over 270 degrees, from the right to the left, as shares of their range of 5 m;
// then the goal's distance in tens of metres and the sine and cosine of its bearing. With noise, an episode draws a
// standard deviation of 0.02 to 0.1 m for all beams, and each beam is lost with probability 0.02, which reads as 5 m.
//
// Each step earns the share of the shortest way from start to goal that it goes, and costs 0.001. Coming within 0.3 m
// of the goal earns 1 more, touching a wall costs 1; both end the episode. So an episode's return is above 1.5 if the
// goal was reached and below 1 if not. Start and goal are at least 3 m apart, by the shortest way.
//
//   LaserNav-v0           noise, on maps 0 to 199: for training
//   LaserNavNoiseless-v0  the same without noise
//   LaserNavUnseen-v0     noise, on maps 200 to 249: for evaluation
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <numbers>
#include <utility>
#include <vector>

#include "actor/env/entry.h"
#include "actor/env/laser_map.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

using std::numbers::pi;

constexpr int kTrainingMaps = 200;
constexpr int kUnseenMaps = 50;

constexpr double kRadius = 0.2;
constexpr double kTimeStep = 0.25;
constexpr int kBeams = 36;
constexpr double kFieldOfView = 270 * pi / 180;
constexpr double kRange = 5;
constexpr double kMinNoise = 0.02;
constexpr double kMaxNoise = 0.1;
constexpr double kLossProbability = 0.02;
constexpr double kDistanceUnit = 10;

constexpr double kMinWay = 3;
constexpr double kGoalRadius = 0.3;
constexpr double kGoalReward = 1;
constexpr double kCollisionCost = 1;
constexpr double kStepCost = 0.001;

struct Drive {
  double speed = 0;
  double turn = 0;  // to the left, in rad/s
};
constexpr Drive kDrives[] = {{0.6, 0}, {0, 1.5}, {0, -1.5}, {0.5, 0.8}, {0.5, -0.8}};

struct Variant {
  bool noise = false;
  int first_map = 0;
  int maps = 0;
};

EnvironmentFacts Facts(std::string name, std::string summary) {
  return {.name = std::move(name),
          .summary = std::move(summary),
          .source = "after GA3C navigation, arXiv:2005.13857",
          .observation = {.data_type = v1::FLOAT32, .shape = {kBeams + 3}},
          .action = {.discrete = static_cast<int>(std::size(kDrives))},
          .max_episode_steps = 300,
          .reward_threshold = std::numeric_limits<double>::quiet_NaN()};
}

// All maps, made when they are first asked for.
const std::vector<LaserMap>& Maps() {
  static const std::vector<LaserMap>* const maps = [] {
    auto* list = new std::vector<LaserMap>;
    for (int number = 0; number < kTrainingMaps + kUnseenMaps; ++number) list->push_back(LaserMap::Generate(number));
    return list;
  }();
  return *maps;
}

// Direction of each beam from the robot's own; x is forward, y left.
const std::array<std::pair<double, double>, kBeams>& Beams() {
  static const auto beams = [] {
    std::array<std::pair<double, double>, kBeams> directions;
    for (int i = 0; i < kBeams; ++i) {
      const double angle = kFieldOfView * (static_cast<double>(i) / (kBeams - 1) - 0.5);
      directions[i] = {std::cos(angle), std::sin(angle)};
    }
    return directions;
  }();
  return beams;
}

class LaserNavEnvironment final : public Environment {
 public:
  LaserNavEnvironment(EnvironmentFacts facts, Variant variant) : facts_(std::move(facts)), variant_(variant) {}

  const EnvironmentFacts& facts() const override { return facts_; }

  void Reset(RandomStream& random, std::span<std::byte> observation) override {
    random_ = &random;
    map_ = variant_.first_map + static_cast<int>(random.Below(variant_.maps));
    const std::vector<LaserMap::Cell>& cells = map().roomy();
    const auto draw = [&] { return cells[random.Below(cells.size())]; };
    SetGoal(draw());
    LaserMap::Cell start = draw();
    while (distances_.At(start) < kMinWay) start = draw();
    x_ = start.x();
    y_ = start.y();
    heading_ = random.Uniform(-pi, pi);
    whole_way_ = way_ = distances_.At(start);
    noise_ = variant_.noise ? random.Uniform(kMinNoise, kMaxNoise) : 0;
    Observe(observation);
  }

  StepResult Step(const Action& action, std::span<std::byte> observation) override {
    StepResult result{.reward = -kStepCost};
    if (!Move(kDrives[action.discrete])) {
      result.reward -= kCollisionCost;
      result.terminated = true;
    }
    const double way = distances_.At(x_, y_);
    if (std::isfinite(way)) {  // in a narrow place the way is not known
      result.reward += (way_ - way) / whole_way_;
      way_ = way;
    }
    if (std::hypot(goal_.x() - x_, goal_.y() - y_) < kGoalRadius) {
      result.reward += kGoalReward;
      result.terminated = true;
    }
    Observe(observation);
    return result;
  }

  std::vector<double> State() const override {
    return {static_cast<double>(map_),      x_,         y_,   heading_, static_cast<double>(goal_.column),
            static_cast<double>(goal_.row), whole_way_, way_, noise_};
  }

  absl::Status SetState(std::span<const double> state) override {
    RETURN_IF_ERROR(CheckStateSize(facts_, 9, state.size()));
    map_ = static_cast<int>(state[0]);
    x_ = state[1];
    y_ = state[2];
    heading_ = state[3];
    SetGoal({static_cast<int>(state[4]), static_cast<int>(state[5])});
    whole_way_ = state[6];
    way_ = state[7];
    noise_ = state[8];
    return absl::OkStatus();
  }

 private:
  const LaserMap& map() const { return Maps()[map_]; }

  void SetGoal(LaserMap::Cell goal) {
    goal_ = goal;
    distances_ = map().DistancesTo(goal);
  }

  // Along the arc of a circle. False: a wall is in the way, and the robot stays where it is.
  bool Move(const Drive& drive) {
    const double turn = drive.turn * kTimeStep, length = drive.speed * kTimeStep;
    // The chord of the arc, and its direction.
    const double chord = turn == 0 ? length : length * std::sin(turn / 2) / (turn / 2);
    const double x = x_ + chord * std::cos(heading_ + turn / 2), y = y_ + chord * std::sin(heading_ + turn / 2);
    if (map().Touches(x, y, kRadius)) return false;
    x_ = x;
    y_ = y;
    heading_ = std::remainder(heading_ + turn, 2 * pi);
    return true;
  }

  double Scan(double direction_x, double direction_y) {
    const double length = map().Ray(x_, y_, direction_x, direction_y, kRange);
    if (!variant_.noise) return length;
    const double noisy = std::clamp(length + noise_ * random_->Normal(), 0.0, kRange);
    return (*random_)() < kLossProbability * RandomStream::max() ? kRange : noisy;
  }

  void Observe(std::span<std::byte> observation) {
    const std::span<float> numbers = As<float>(observation);
    const double cosine = std::cos(heading_), sine = std::sin(heading_);
    for (int i = 0; i < kBeams; ++i) {
      const auto& [forward, left] = Beams()[i];
      numbers[i] = static_cast<float>(Scan(cosine * forward - sine * left, sine * forward + cosine * left) / kRange);
    }
    const double to_goal_x = goal_.x() - x_, to_goal_y = goal_.y() - y_;
    const double bearing = std::atan2(to_goal_y, to_goal_x) - heading_;
    numbers[kBeams] = static_cast<float>(std::hypot(to_goal_x, to_goal_y) / kDistanceUnit);
    numbers[kBeams + 1] = static_cast<float>(std::sin(bearing));
    numbers[kBeams + 2] = static_cast<float>(std::cos(bearing));
  }

  const EnvironmentFacts facts_;
  const Variant variant_;
  RandomStream* random_ = nullptr;  // of the episode
  int map_ = 0;
  double x_ = 0;
  double y_ = 0;
  double heading_ = 0;  // from the x-axis, towards the y-axis
  LaserMap::Cell goal_;
  LaserMap::Distances distances_;
  double whole_way_ = 0;  // from the start
  double way_ = 0;        // from where the robot is
  double noise_ = 0;      // standard deviation of the beams
};

EnvironmentEntry Entry(EnvironmentFacts facts, Variant variant) {
  return {std::move(facts),
          [variant](const EnvironmentFacts& known) { return std::make_unique<LaserNavEnvironment>(known, variant); }};
}

}  // namespace

EnvironmentEntries LaserNav() {
  return {
      Entry(Facts("LaserNav-v0", "find the way inside a building by a noisy laser scanner"),
            {.noise = true, .maps = kTrainingMaps}),
      Entry(Facts("LaserNavNoiseless-v0", "LaserNav without noise"), {.maps = kTrainingMaps}),
      Entry(Facts("LaserNavUnseen-v0", "LaserNav in buildings kept for evaluation"),
            {.noise = true, .first_map = kTrainingMaps, .maps = kUnseenMaps}),
  };
}

}  // namespace headrace
