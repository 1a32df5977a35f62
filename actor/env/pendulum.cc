// Swing a pendulum up and hold it there.
//
//   theta'' = 3 g / (2 l) sin(theta) + 3 / (m l^2) u        theta = 0 is upright, u is the torque at the joint
//   reward  = -(theta^2 + 0.1 theta'^2 + 0.001 u^2)         of the state before the step, theta wrapped to [-pi, pi)
//
// Integrated by semi-implicit Euler steps of 0.05 s; the angular velocity is clipped to 8 rad/s. No state is terminal.
// An episode starts at any angle, with an angular velocity in [-1, 1).
#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <utility>

#include "actor/env/entry.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

constexpr double kGravity = 10;
constexpr double kMass = 1;
constexpr double kLength = 1;
constexpr double kTimeStep = 0.05;
constexpr double kMaxVelocity = 8;
constexpr double kMaxTorque = 2;

EnvironmentFacts Facts() {
  return {.name = "Pendulum-v1",
          .summary = "swing a pendulum up and hold it there",
          .source = "Gymnasium 1.4, classic control",
          .observation = {.data_type = v1::FLOAT32, .shape = {3}},
          .action = {.low = {-kMaxTorque}, .high = {kMaxTorque}},
          .max_episode_steps = 200,
          .reward_threshold = std::numeric_limits<double>::quiet_NaN()};
}

double WrapAngle(double angle) {
  constexpr double kTurn = 2 * std::numbers::pi;
  const double remainder = std::fmod(angle + std::numbers::pi, kTurn);
  return (remainder < 0 ? remainder + kTurn : remainder) - std::numbers::pi;
}

class PendulumEnvironment final : public Environment {
 public:
  explicit PendulumEnvironment(EnvironmentFacts facts) : facts_(std::move(facts)) {}

  const EnvironmentFacts& facts() const override { return facts_; }

  void Reset(RandomStream& random, std::span<std::byte> observation) override {
    theta_ = random.Uniform(-std::numbers::pi, std::numbers::pi);
    velocity_ = random.Uniform(-1, 1);
    Observe(observation);
  }

  StepResult Step(const Action& action, std::span<std::byte> observation) override {
    const double torque = std::clamp(action.continuous[0], -kMaxTorque, kMaxTorque);
    const double angle = WrapAngle(theta_);
    const double cost = angle * angle + 0.1 * (velocity_ * velocity_) + 0.001 * (torque * torque);

    const double acceleration =
        3 * kGravity / (2 * kLength) * std::sin(theta_) + 3 / (kMass * kLength * kLength) * torque;
    velocity_ = std::clamp(velocity_ + acceleration * kTimeStep, -kMaxVelocity, kMaxVelocity);
    theta_ += velocity_ * kTimeStep;
    Observe(observation);
    return {.reward = -cost};
  }

  std::vector<double> State() const override { return {theta_, velocity_}; }

  absl::Status SetState(std::span<const double> state) override {
    RETURN_IF_ERROR(CheckStateSize(facts_, 2, state.size()));
    theta_ = state[0];
    velocity_ = state[1];
    return absl::OkStatus();
  }

 private:
  void Observe(std::span<std::byte> observation) const {
    const std::span<float> numbers = As<float>(observation);
    numbers[0] = static_cast<float>(std::cos(theta_));
    numbers[1] = static_cast<float>(std::sin(theta_));
    numbers[2] = static_cast<float>(velocity_);
  }

  const EnvironmentFacts facts_;
  double theta_ = 0;
  double velocity_ = 0;
};

}  // namespace

EnvironmentEntries Pendulum() { return {EntryOf<PendulumEnvironment>(Facts())}; }

}  // namespace headrace
