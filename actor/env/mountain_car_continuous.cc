// Drive a weak car out of a valley, onto the hill on its right.
//
//   x'' = 0.0015 u - 0.0025 cos(3 x)        one step is one unit of time, u is the force
//
// The velocity is clipped to 0.07 and the position to [-1.2, 0.6]; the wall on the left stops the car. The episode is
// over at x >= 0.45 with a velocity of at least 0, which earns 100; each step costs 0.1 u^2. It starts at rest with x
// in [-0.6, -0.4).
//
// Gymnasium keeps the state in float32 between steps and computes in float64; so does this, from the first step on.
#include <algorithm>
#include <cmath>
#include <utility>

#include "actor/env/entry.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

constexpr float kMaxVelocity = 0.07f;
constexpr float kMinPosition = -1.2f;
constexpr float kMaxPosition = 0.6f;
constexpr double kGoalPosition = 0.45;

EnvironmentFacts Facts() {
  return {.name = "MountainCarContinuous-v0",
          .summary = "drive a weak car out of a valley",
          .source = "Gymnasium 1.4, classic control",
          .observation = {.data_type = v1::FLOAT32, .shape = {2}},
          .action = {.low = {-1}, .high = {1}},
          .max_episode_steps = 999,
          .reward_threshold = 90};
}

class MountainCarContinuousEnvironment final : public Environment {
 public:
  explicit MountainCarContinuousEnvironment(EnvironmentFacts facts) : facts_(std::move(facts)) {}

  const EnvironmentFacts& facts() const override { return facts_; }

  void Reset(RandomStream& random, std::span<std::byte> observation) override {
    position_ = static_cast<float>(random.Uniform(-0.6, -0.4));
    velocity_ = 0;
    Observe(observation);
  }

  StepResult Step(const Action& action, std::span<std::byte> observation) override {
    const double force = std::clamp(action.continuous[0], -1.0, 1.0);
    const double slope = std::cos(static_cast<double>(3 * position_));
    double velocity = velocity_ + (0.0015 * force - 0.0025 * slope);
    velocity = std::clamp<double>(velocity, -kMaxVelocity, kMaxVelocity);
    const double position = std::clamp<double>(position_ + velocity, kMinPosition, kMaxPosition);
    if (position == kMinPosition && velocity < 0) velocity = 0;

    position_ = static_cast<float>(position);
    velocity_ = static_cast<float>(velocity);
    Observe(observation);
    const bool at_goal = position >= kGoalPosition && velocity >= 0;
    return {.reward = (at_goal ? 100 : 0) - 0.1 * (force * force), .terminated = at_goal};
  }

  std::vector<double> State() const override { return {position_, velocity_}; }

  absl::Status SetState(std::span<const double> state) override {
    RETURN_IF_ERROR(CheckStateSize(facts_, 2, state.size()));
    position_ = static_cast<float>(state[0]);
    velocity_ = static_cast<float>(state[1]);
    return absl::OkStatus();
  }

 private:
  void Observe(std::span<std::byte> observation) const {
    const std::span<float> numbers = As<float>(observation);
    numbers[0] = position_;
    numbers[1] = velocity_;
  }

  const EnvironmentFacts facts_;
  float position_ = 0;
  float velocity_ = 0;
};

}  // namespace

EnvironmentEntries MountainCarContinuous() { return {EntryOf<MountainCarContinuousEnvironment>(Facts())}; }

}  // namespace headrace
