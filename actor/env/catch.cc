// Catch a falling ball with a paddle on the bottom row of a board of 10 rows and 5 columns.
//
// Osband et al., "Behaviour Suite for Reinforcement Learning", ICLR 2020, after Mnih et al., "Recurrent Models of
// Visual Attention", 2014. The ball starts in a random column of the top row and falls a row a step; the paddle starts
// in the middle and moves left (action 0), stays (1) or moves right (2). The ninth step brings the ball to the paddle's
// row, which ends the episode and earns 1 if it is caught, else -1; the steps before earn nothing. The observation is
// the board, 1 where the ball or the paddle is, 0 elsewhere.
#include <algorithm>
#include <utility>

#include "actor/env/entry.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

constexpr int kRows = 10;
constexpr int kColumns = 5;

EnvironmentFacts Facts() {
  return {.name = "Catch-v0",
          .summary = "catch a falling ball; pixels, nine steps",
          .source = "bsuite's catch",
          .observation = {.data_type = v1::FLOAT32, .shape = {kRows, kColumns}},
          .action = {.discrete = 3},
          .reward_threshold = 1};
}

class CatchEnvironment final : public Environment {
 public:
  explicit CatchEnvironment(EnvironmentFacts facts) : facts_(std::move(facts)) {}

  const EnvironmentFacts& facts() const override { return facts_; }

  void Reset(RandomStream& random, std::span<std::byte> observation) override {
    ball_row_ = 0;
    ball_column_ = static_cast<int>(random.Below(kColumns));
    paddle_column_ = kColumns / 2;
    Observe(observation);
  }

  StepResult Step(const Action& action, std::span<std::byte> observation) override {
    paddle_column_ = std::clamp(paddle_column_ + action.discrete - 1, 0, kColumns - 1);
    ball_row_ = std::min(ball_row_ + 1, kRows - 1);
    Observe(observation);
    if (ball_row_ < kRows - 1) return {};
    return {.reward = paddle_column_ == ball_column_ ? 1.0 : -1.0, .terminated = true};
  }

  std::vector<double> State() const override {
    return {static_cast<double>(ball_row_), static_cast<double>(ball_column_), static_cast<double>(paddle_column_)};
  }

  absl::Status SetState(std::span<const double> state) override {
    RETURN_IF_ERROR(CheckStateSize(facts_, 3, state.size()));
    ball_row_ = static_cast<int>(state[0]);
    ball_column_ = static_cast<int>(state[1]);
    paddle_column_ = static_cast<int>(state[2]);
    return absl::OkStatus();
  }

 private:
  void Observe(std::span<std::byte> observation) const {
    const std::span<float> board = As<float>(observation);
    std::fill(board.begin(), board.end(), 0.0f);
    board[ball_row_ * kColumns + ball_column_] = 1;
    board[(kRows - 1) * kColumns + paddle_column_] = 1;
  }

  const EnvironmentFacts facts_;
  int ball_row_ = 0;
  int ball_column_ = 0;
  int paddle_column_ = 0;
};

}  // namespace

EnvironmentEntries Catch() { return {EntryOf<CatchEnvironment>(Facts())}; }

}  // namespace headrace
