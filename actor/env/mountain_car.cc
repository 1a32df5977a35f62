// Drive a weak car out of a valley, onto the hill on its right, by pushing it left (action 0), not at all (1), or right
// (2).
//
//   x'' = 0.001 (action - 1) - 0.0025 cos(3 x)        one step is one unit of time
//
// Moore, "Efficient Memory-based Learning for Robot Control", 1990. The velocity is clipped to 0.07 and the position to
// [-1.2, 0.6]; the wall on the left stops the car. Each step costs 1, and the episode is over at x >= 0.5 with a
// velocity of at least 0. It starts at rest with x in [-0.6, -0.4).
#include <algorithm>
#include <cmath>
#include <utility>

#include "actor/env/entry.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

constexpr double kForce = 0.001;
constexpr double kGravity = 0.0025;
constexpr double kMaxVelocity = 0.07;
constexpr double kMinPosition = -1.2;
constexpr double kMaxPosition = 0.6;
constexpr double kGoalPosition = 0.5;

EnvironmentFacts Facts() {
  return {.name = "MountainCar-v0",
          .summary = "drive a weak car out of a valley by pushing it left or right",
          .source = "Gymnasium 1.4, classic control",
          .observation = {.data_type = v1::FLOAT32, .shape = {2}},
          .action = {.discrete = 3},
          .max_episode_steps = 200,
          .reward_threshold = -110};
}

class MountainCarEnvironment final : public Environment {
 public:
  explicit MountainCarEnvironment(EnvironmentFacts facts) : facts_(std::move(facts)) {}

  const EnvironmentFacts& facts() const override { return facts_; }

  void Reset(RandomStream& random, std::span<std::byte> observation) override {
    position_ = random.Uniform(-0.6, -0.4);
    velocity_ = 0;
    Observe(observation);
  }

  StepResult Step(const Action& action, std::span<std::byte> observation) override {
    const double push = (static_cast<double>(action.discrete) - 1) * kForce;
    velocity_ += push + std::cos(3 * position_) * -kGravity;
    velocity_ = std::clamp(velocity_, -kMaxVelocity, kMaxVelocity);
    position_ = std::clamp(position_ + velocity_, kMinPosition, kMaxPosition);
    if (position_ == kMinPosition && velocity_ < 0) velocity_ = 0;
    Observe(observation);
    return {.reward = -1, .terminated = position_ >= kGoalPosition && velocity_ >= 0};
  }

  std::vector<double> State() const override { return {position_, velocity_}; }

  absl::Status SetState(std::span<const double> state) override {
    RETURN_IF_ERROR(CheckStateSize(facts_, 2, state.size()));
    position_ = state[0];
    velocity_ = state[1];
    return absl::OkStatus();
  }

 private:
  void Observe(std::span<std::byte> observation) const {
    const std::span<float> numbers = As<float>(observation);
    numbers[0] = static_cast<float>(position_);
    numbers[1] = static_cast<float>(velocity_);
  }

  const EnvironmentFacts facts_;
  double position_ = 0;
  double velocity_ = 0;
};

}  // namespace

EnvironmentEntries MountainCar() { return {EntryOf<MountainCarEnvironment>(Facts())}; }

}  // namespace headrace
