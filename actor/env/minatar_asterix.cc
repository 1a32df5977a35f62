// MinAtar's Asterix: collect gold and keep clear of enemies.
//
// The player starts at row 5, column 5, and walks in rows 1 to 8. Each of these rows holds at most one thing, gold (one
// in three) or an enemy, which enters at the left or right edge, moves across and leaves. A thing enters a random free
// row, every 10 steps at first; things move every 5 steps at first. Touching gold earns 1, touching an enemy ends the
// episode; both are looked at after the player's move and after the things'. After about every hundred steps the
// interval of arrivals becomes shorter by a step, and every other time that of moves, down to 1.
//
// The same games as the package minatar 1.0.15: minatar_test.py.
#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "actor/env/minatar.h"

namespace headrace {
namespace {

using minatar::Button;
using minatar::kSize;

constexpr int kTopRow = 1;
constexpr int kBottomRow = 8;
constexpr int kSpawnInterval = 10;
constexpr int kMoveInterval = 5;
constexpr int kRampInterval = 100;

enum Channel { kPlayer, kEnemy, kTrail, kGold, kChannels };

EnvironmentFacts Facts() {
  return {.name = "MinAtar/Asterix",
          .summary = "collect gold among enemies; pixels",
          .source = "MinAtar 1.0.15, arXiv:1903.03176",
          .observation = {.data_type = v1::UINT8, .shape = {kChannels, kSize, kSize}},
          .max_episode_steps = minatar::kMaxEpisodeSteps,
          .reward_threshold = std::numeric_limits<double>::quiet_NaN()};
}

struct Thing {
  bool present = false;
  bool gold = false;
  int column = 0;
  int direction = 0;  // 1 to the right or -1

  void EachNumber(minatar::StateArchive& archive) { archive(present, gold, column, direction); }
};

class Asterix {
 public:
  void Reset(RandomStream&) { *this = Asterix(); }

  StepResult Step(Button button, RandomStream& random) {
    if (spawn_timer_ == 0) {
      Spawn(random);
      spawn_timer_ = spawn_interval_;
    }
    Walk(button);
    StepResult result;
    Touch(result);
    if (move_timer_ == 0) {
      MoveThings();
      Touch(result);
      move_timer_ = move_interval_;
    }
    --spawn_timer_;
    --move_timer_;
    Ramp();
    return result;
  }

  void Draw(minatar::Screen& screen) const {
    screen.Set(kPlayer, row_, column_);
    for (int row = kTopRow; row <= kBottomRow; ++row) {
      const Thing& thing = things_[row - kTopRow];
      if (!thing.present) continue;
      screen.Set(thing.gold ? kGold : kEnemy, row, thing.column);
      screen.Set(kTrail, row, thing.column - thing.direction);
    }
  }

  void EachNumber(minatar::StateArchive& archive) {
    archive(row_, column_, things_, spawn_interval_, spawn_timer_, move_interval_, move_timer_, ramp_timer_, ramps_);
  }

 private:
  void Spawn(RandomStream& random) {
    const bool from_left = random.Uniform() < 0.5;
    const bool gold = random.Uniform() < 1.0 / 3.0;
    std::vector<Thing*> free;
    for (Thing& thing : things_) {
      if (!thing.present) free.push_back(&thing);
    }
    if (free.empty()) return;
    *free[random.Below(free.size())] = {
        .present = true, .gold = gold, .column = from_left ? 0 : kSize - 1, .direction = from_left ? 1 : -1};
  }

  void Walk(Button button) {
    if (button == Button::kLeft) column_ = std::max(column_ - 1, 0);
    if (button == Button::kRight) column_ = std::min(column_ + 1, kSize - 1);
    if (button == Button::kUp) row_ = std::max(row_ - 1, kTopRow);
    if (button == Button::kDown) row_ = std::min(row_ + 1, kBottomRow);
  }

  void MoveThings() {
    for (Thing& thing : things_) {
      thing.column += thing.direction;
      if (thing.column < 0 || thing.column >= kSize) thing = {};
    }
  }

  void Touch(StepResult& result) {
    Thing& thing = things_[row_ - kTopRow];
    if (!thing.present || thing.column != column_) return;
    if (thing.gold) {
      thing = {};
      result.reward += 1;
    } else {
      result.terminated = true;
    }
  }

  void Ramp() {
    if (spawn_interval_ == 1 && move_interval_ == 1) return;
    if (ramp_timer_ >= 0) {
      --ramp_timer_;
      return;
    }
    if (ramps_ % 2 == 1) move_interval_ = std::max(move_interval_ - 1, 1);
    spawn_interval_ = std::max(spawn_interval_ - 1, 1);
    ++ramps_;
    ramp_timer_ = kRampInterval;
  }

  int row_ = 5;
  int column_ = 5;
  std::array<Thing, kBottomRow - kTopRow + 1> things_{};  // of each row
  int spawn_interval_ = kSpawnInterval;
  int spawn_timer_ = kSpawnInterval;
  int move_interval_ = kMoveInterval;
  int move_timer_ = kMoveInterval;
  int ramp_timer_ = kRampInterval;
  int ramps_ = 0;
};

}  // namespace

EnvironmentEntries MinAtarAsterix() {
  return minatar::EntriesOf<Asterix>(Facts(),
                                     {Button::kNone, Button::kLeft, Button::kUp, Button::kRight, Button::kDown});
}

}  // namespace headrace
