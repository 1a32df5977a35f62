// MinAtar's Breakout: keep a ball in the air with a paddle, and break the bricks above.
//
// Three rows of bricks fill rows 1 to 3. The ball starts in row 3, in the left or the right column at random, moving
// down and inwards; it moves one cell diagonally a step. Walls and ceiling reflect it. A brick in its way breaks,
// earns 1, and reflects it; a brick met in the very next step does not: the ball enters its cell. At the bottom row the
// paddle sends it back up, the way it came if it is where the ball would arrive rather than under it; where the paddle
// is missed the episode ends. When the ball gets to the bottom row and no brick is left, all of them come back.
//
// The same games as the package minatar 1.0.15: minatar_test.py.
#include <algorithm>
#include <array>
#include <limits>

#include "actor/env/minatar.h"

namespace headrace {
namespace {

using minatar::Button;
using minatar::kSize;

constexpr int kTopBricks = 1;
constexpr int kBottomBricks = 3;

enum Channel { kPaddle, kBall, kTrail, kBrick, kChannels };

EnvironmentFacts Facts() {
  return {.name = "MinAtar/Breakout",
          .summary = "break bricks with a ball and a paddle; pixels",
          .source = "MinAtar 1.0.15, arXiv:1903.03176",
          .observation = {.data_type = v1::UINT8, .shape = {kChannels, kSize, kSize}},
          .max_episode_steps = minatar::kMaxEpisodeSteps,
          .reward_threshold = std::numeric_limits<double>::quiet_NaN()};
}

class Breakout {
 public:
  void Reset(RandomStream& random) {
    const bool right = random.Below(2) == 1;
    ball_row_ = last_row_ = kBottomBricks;
    ball_column_ = last_column_ = right ? kSize - 1 : 0;
    down_ = 1;
    across_ = right ? -1 : 1;
    paddle_ = 4;
    struck_ = false;
    LayBricks();
  }

  StepResult Step(Button button, RandomStream&) {
    if (button == Button::kLeft) paddle_ = std::max(paddle_ - 1, 0);
    if (button == Button::kRight) paddle_ = std::min(paddle_ + 1, kSize - 1);

    StepResult result;
    last_row_ = ball_row_;
    last_column_ = ball_column_;
    ball_column_ += across_;
    if (ball_column_ < 0 || ball_column_ >= kSize) {
      ball_column_ = last_column_;
      across_ = -across_;
    }
    const int row = ball_row_ + down_;
    const bool strikes = row >= 0 && HasBrick(row);
    if (row < 0) {
      down_ = 1;  // and it stays in row 0
    } else if (strikes && !struck_) {
      bricks_[(row - kTopBricks) * kSize + ball_column_] = false;
      result.reward = 1;
      down_ = -down_;
    } else if (row == kSize - 1) {
      if (std::count(bricks_.begin(), bricks_.end(), true) == 0) LayBricks();
      const bool under = last_column_ == paddle_;
      if (under || ball_column_ == paddle_) {
        down_ = -1;
        if (!under) across_ = -across_;
      } else {
        result.terminated = true;
        ball_row_ = row;
      }
    } else {
      ball_row_ = row;
    }
    struck_ = strikes;
    return result;
  }

  void Draw(minatar::Screen& screen) const {
    screen.Set(kBall, ball_row_, ball_column_);
    screen.Set(kPaddle, kSize - 1, paddle_);
    screen.Set(kTrail, last_row_, last_column_);
    for (size_t i = 0; i < bricks_.size(); ++i) {
      if (bricks_[i]) screen.Set(kBrick, kTopBricks + static_cast<int>(i) / kSize, static_cast<int>(i) % kSize);
    }
  }

  void EachNumber(minatar::StateArchive& archive) {
    archive(paddle_, ball_row_, ball_column_, last_row_, last_column_, down_, across_, struck_, bricks_);
  }

 private:
  bool HasBrick(int row) const {
    return row >= kTopBricks && row <= kBottomBricks && bricks_[(row - kTopBricks) * kSize + ball_column_];
  }

  void LayBricks() { bricks_.fill(true); }

  int paddle_ = 0;
  int ball_row_ = 0;
  int ball_column_ = 0;
  int last_row_ = 0;
  int last_column_ = 0;
  int down_ = 0;         // 1 or -1
  int across_ = 0;       // 1 to the right or -1
  bool struck_ = false;  // a brick was met in the last step
  std::array<bool, (kBottomBricks - kTopBricks + 1) * kSize> bricks_{};
};

}  // namespace

EnvironmentEntries MinAtarBreakout() {
  return minatar::EntriesOf<Breakout>(Facts(), {Button::kNone, Button::kLeft, Button::kRight});
}

}  // namespace headrace
