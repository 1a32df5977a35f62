// Swing the end of two linked rods above a line by a torque of -1, 0 or 1 (actions 0, 1, 2) at the joint between them.
//
// Sutton and Barto, "Reinforcement Learning: An Introduction", section 11.3 of the first edition. Angle theta1 is the
// upper rod's from straight down, theta2 the lower rod's relative to the upper one. With m the rods' mass, l their
// length, c the distance of their centre of mass from the joint, I their moment of inertia, tau the torque:
//
//   d1       = m c^2 + m (l^2 + c^2 + 2 l c cos(theta2)) + 2 I
//   d2       = m (c^2 + l c cos(theta2)) + I
//   phi2     = m c g cos(theta1 + theta2 - pi/2)
//   phi1     = -m l c theta2'^2 sin(theta2) - 2 m l c theta2' theta1' sin(theta2)
//              + (m c + m l) g cos(theta1 - pi/2) + phi2
//   theta2'' = (tau + d2/d1 phi1 - m l c theta1'^2 sin(theta2) - phi2) / (m c^2 + I - d2^2/d1)
//   theta1'' = -(d2 theta2'' + phi1) / d1
//
// One step is one fourth-order Runge-Kutta step of 0.2 s, after which angles are wrapped to [-pi, pi] and velocities
// clipped to 4 pi and 9 pi. A step costs 1, except the one after which -cos(theta1) - cos(theta1 + theta2) > 1: the
// episode is over. It starts with all four numbers in [-0.1, 0.1).
#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <utility>

#include "actor/env/entry.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

using std::numbers::pi;

constexpr double kGravity = 9.8;
constexpr double kMass = 1;
constexpr double kLength = 1;
constexpr double kCentre = 0.5;
constexpr double kInertia = 1;
constexpr double kTimeStep = 0.2;
constexpr double kMaxVelocity1 = 4 * pi;
constexpr double kMaxVelocity2 = 9 * pi;

using Rods = std::array<double, 4>;  // theta1, theta2, theta1', theta2'

EnvironmentFacts Facts() {
  return {.name = "Acrobot-v1",
          .summary = "swing up two linked rods by the joint between them",
          .source = "Gymnasium 1.4, classic control",
          .observation = {.data_type = v1::FLOAT32, .shape = {6}},
          .action = {.discrete = 3},
          .max_episode_steps = 500,
          .reward_threshold = -100};
}

Rods Derivative(const Rods& rods, double torque) {
  const auto& [theta1, theta2, velocity1, velocity2] = rods;
  const double d1 = kMass * kCentre * kCentre +
                    kMass * (kLength * kLength + kCentre * kCentre + 2 * kLength * kCentre * std::cos(theta2)) +
                    2 * kInertia;
  const double d2 = kMass * (kCentre * kCentre + kLength * kCentre * std::cos(theta2)) + kInertia;
  const double phi2 = kMass * kCentre * kGravity * std::cos(theta1 + theta2 - pi / 2);
  const double phi1 = -kMass * kLength * kCentre * velocity2 * velocity2 * std::sin(theta2) -
                      2 * kMass * kLength * kCentre * velocity2 * velocity1 * std::sin(theta2) +
                      (kMass * kCentre + kMass * kLength) * kGravity * std::cos(theta1 - pi / 2) + phi2;
  const double acceleration2 =
      (torque + d2 / d1 * phi1 - kMass * kLength * kCentre * velocity1 * velocity1 * std::sin(theta2) - phi2) /
      (kMass * kCentre * kCentre + kInertia - d2 * d2 / d1);
  const double acceleration1 = -(d2 * acceleration2 + phi1) / d1;
  return {velocity1, velocity2, acceleration1, acceleration2};
}

// rods + factor * slope
Rods Along(const Rods& rods, double factor, const Rods& slope) {
  Rods moved;
  for (size_t i = 0; i < moved.size(); ++i) moved[i] = rods[i] + factor * slope[i];
  return moved;
}

double Wrap(double angle) {
  while (angle > pi) angle -= 2 * pi;
  while (angle < -pi) angle += 2 * pi;
  return angle;
}

class AcrobotEnvironment final : public Environment {
 public:
  explicit AcrobotEnvironment(EnvironmentFacts facts) : facts_(std::move(facts)) {}

  const EnvironmentFacts& facts() const override { return facts_; }

  void Reset(RandomStream& random, std::span<std::byte> observation) override {
    for (double& number : rods_) number = random.Uniform(-0.1, 0.1);
    Observe(observation);
  }

  StepResult Step(const Action& action, std::span<std::byte> observation) override {
    const double torque = action.discrete - 1;
    const Rods k1 = Derivative(rods_, torque);
    const Rods k2 = Derivative(Along(rods_, kTimeStep / 2, k1), torque);
    const Rods k3 = Derivative(Along(rods_, kTimeStep / 2, k2), torque);
    const Rods k4 = Derivative(Along(rods_, kTimeStep, k3), torque);
    for (size_t i = 0; i < rods_.size(); ++i) rods_[i] += kTimeStep / 6 * (k1[i] + 2 * k2[i] + 2 * k3[i] + k4[i]);
    rods_[0] = Wrap(rods_[0]);
    rods_[1] = Wrap(rods_[1]);
    rods_[2] = std::clamp(rods_[2], -kMaxVelocity1, kMaxVelocity1);
    rods_[3] = std::clamp(rods_[3], -kMaxVelocity2, kMaxVelocity2);
    Observe(observation);
    const bool above = -std::cos(rods_[0]) - std::cos(rods_[1] + rods_[0]) > 1;
    return {.reward = above ? 0.0 : -1.0, .terminated = above};
  }

  std::vector<double> State() const override { return {rods_.begin(), rods_.end()}; }

  absl::Status SetState(std::span<const double> state) override {
    RETURN_IF_ERROR(CheckStateSize(facts_, rods_.size(), state.size()));
    std::copy(state.begin(), state.end(), rods_.begin());
    return absl::OkStatus();
  }

 private:
  void Observe(std::span<std::byte> observation) const {
    const std::span<float> numbers = As<float>(observation);
    numbers[0] = static_cast<float>(std::cos(rods_[0]));
    numbers[1] = static_cast<float>(std::sin(rods_[0]));
    numbers[2] = static_cast<float>(std::cos(rods_[1]));
    numbers[3] = static_cast<float>(std::sin(rods_[1]));
    numbers[4] = static_cast<float>(rods_[2]);
    numbers[5] = static_cast<float>(rods_[3]);
  }

  const EnvironmentFacts facts_;
  Rods rods_{};
};

}  // namespace

EnvironmentEntries Acrobot() { return {EntryOf<AcrobotEnvironment>(Facts())}; }

}  // namespace headrace
