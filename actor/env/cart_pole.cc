// Balance a pole on a cart by pushing the cart left (action 0) or right (action 1).
//
// Barto, Sutton and Anderson, "Neuronlike Adaptive Elements That Can Solve Difficult Learning Control Problems", 1983,
// without friction. With F the force, m the pole's mass, M that of cart and pole together, l half the pole's length:
//
//   f       = (F + m l theta'^2 sin(theta)) / M
//   theta'' = (g sin(theta) - cos(theta) f) / (l (4/3 - m cos(theta)^2 / M))
//   x''     = f - m l theta'' cos(theta) / M
//
// Integrated by explicit Euler steps of 0.02 s. Every step earns 1; the episode is over when the cart is further than
// 2.4 m from the middle or the pole leans by more than 12 degrees. It starts with all four numbers in [-0.05, 0.05).
#include <cmath>
#include <numbers>
#include <utility>

#include "actor/env/entry.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

constexpr double kGravity = 9.8;
constexpr double kPoleMass = 0.1;
constexpr double kTotalMass = 1.0 + kPoleMass;
constexpr double kHalfLength = 0.5;
constexpr double kForce = 10;
constexpr double kTimeStep = 0.02;
constexpr double kMaxPosition = 2.4;
constexpr double kMaxAngle = 12 * 2 * std::numbers::pi / 360;

EnvironmentFacts Facts() {
  return {.name = "CartPole-v1",
          .summary = "balance a pole on a cart that is pushed left or right",
          .source = "Gymnasium 1.4, classic control",
          .observation = {.data_type = v1::FLOAT32, .shape = {4}},
          .action = {.discrete = 2},
          .max_episode_steps = 500,
          .reward_threshold = 475};
}

class CartPoleEnvironment final : public Environment {
 public:
  explicit CartPoleEnvironment(EnvironmentFacts facts) : facts_(std::move(facts)) {}

  const EnvironmentFacts& facts() const override { return facts_; }

  void Reset(RandomStream& random, std::span<std::byte> observation) override {
    for (double* number : {&x_, &x_velocity_, &theta_, &theta_velocity_}) *number = random.Uniform(-0.05, 0.05);
    Observe(observation);
  }

  StepResult Step(const Action& action, std::span<std::byte> observation) override {
    const double force = action.discrete == 1 ? kForce : -kForce;
    const double sine = std::sin(theta_), cosine = std::cos(theta_);
    const double f = (force + kPoleMass * kHalfLength * (theta_velocity_ * theta_velocity_) * sine) / kTotalMass;
    const double theta_acceleration =
        (kGravity * sine - cosine * f) / (kHalfLength * (4.0 / 3.0 - kPoleMass * (cosine * cosine) / kTotalMass));
    const double x_acceleration = f - kPoleMass * kHalfLength * theta_acceleration * cosine / kTotalMass;

    x_ += kTimeStep * x_velocity_;
    x_velocity_ += kTimeStep * x_acceleration;
    theta_ += kTimeStep * theta_velocity_;
    theta_velocity_ += kTimeStep * theta_acceleration;
    Observe(observation);
    return {.reward = 1, .terminated = std::abs(x_) > kMaxPosition || std::abs(theta_) > kMaxAngle};
  }

  std::vector<double> State() const override { return {x_, x_velocity_, theta_, theta_velocity_}; }

  absl::Status SetState(std::span<const double> state) override {
    RETURN_IF_ERROR(CheckStateSize(facts_, 4, state.size()));
    x_ = state[0];
    x_velocity_ = state[1];
    theta_ = state[2];
    theta_velocity_ = state[3];
    return absl::OkStatus();
  }

 private:
  void Observe(std::span<std::byte> observation) const {
    const std::span<float> numbers = As<float>(observation);
    numbers[0] = static_cast<float>(x_);
    numbers[1] = static_cast<float>(x_velocity_);
    numbers[2] = static_cast<float>(theta_);
    numbers[3] = static_cast<float>(theta_velocity_);
  }

  const EnvironmentFacts facts_;
  double x_ = 0;
  double x_velocity_ = 0;
  double theta_ = 0;
  double theta_velocity_ = 0;
};

}  // namespace

EnvironmentEntries CartPole() { return {EntryOf<CartPoleEnvironment>(Facts())}; }

}  // namespace headrace
