// Remember one bit: shown at the start, asked for at the end.
//
// Osband et al., "Behaviour Suite for Reinforcement Learning", ICLR 2020, after its memory_length. Of the numbers
// (time, query, context), context is -1 or 1 at the start, at random, and 0 afterwards; query is 1 in the last but one
// observation and 0 elsewhere; time falls evenly from 1 to 0. Between them lie 10 observations that say nothing. The
// action on the query earns 1 if it names the bit (0 for -1, 1 for 1), else -1, and ends the episode of 12 steps; all
// other actions do nothing and earn nothing. The query looks the same for both bits, so whoever acts on the current
// observation alone has a mean return of 0.
//
// Not bsuite's: there, the last pause stands for the query, and the context stays for a second step.
#include <algorithm>
#include <utility>

#include "actor/env/entry.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

constexpr int kPause = 10;
constexpr int kQueryStep = kPause + 1;
constexpr int kLastStep = kQueryStep + 1;

EnvironmentFacts Facts() {
  return {.name = "MemoryChain-v0",
          .summary = "remember one bit for ten steps",
          .source = "after bsuite's memory_length",
          .observation = {.data_type = v1::FLOAT32, .shape = {3}},
          .action = {.discrete = 2},
          .reward_threshold = 1};
}

class MemoryChainEnvironment final : public Environment {
 public:
  explicit MemoryChainEnvironment(EnvironmentFacts facts) : facts_(std::move(facts)) {}

  const EnvironmentFacts& facts() const override { return facts_; }

  void Reset(RandomStream& random, std::span<std::byte> observation) override {
    step_ = 0;
    bit_ = static_cast<int>(random.Below(2));
    Observe(observation);
  }

  StepResult Step(const Action& action, std::span<std::byte> observation) override {
    step_ = std::min(step_ + 1, kLastStep);
    Observe(observation);
    if (step_ < kLastStep) return {};
    return {.reward = action.discrete == bit_ ? 1.0 : -1.0, .terminated = true};
  }

  std::vector<double> State() const override { return {static_cast<double>(step_), static_cast<double>(bit_)}; }

  absl::Status SetState(std::span<const double> state) override {
    RETURN_IF_ERROR(CheckStateSize(facts_, 2, state.size()));
    step_ = static_cast<int>(state[0]);
    bit_ = static_cast<int>(state[1]);
    return absl::OkStatus();
  }

 private:
  void Observe(std::span<std::byte> observation) const {
    const std::span<float> numbers = As<float>(observation);
    numbers[0] = 1 - static_cast<float>(step_) / kLastStep;
    numbers[1] = step_ == kQueryStep ? 1 : 0;
    numbers[2] = static_cast<float>(step_ == 0 ? 2 * bit_ - 1 : 0);
  }

  const EnvironmentFacts facts_;
  int step_ = 0;
  int bit_ = 0;
};

}  // namespace

EnvironmentEntries MemoryChain() { return {EntryOf<MemoryChainEnvironment>(Facts())}; }

}  // namespace headrace
