// MinAtar's Space Invaders: shoot the aliens before they are down.
//
// The cannon moves along the bottom row, from column 5 on, and fires every fifth step; bullets, also the aliens', move
// a cell a step. The aliens, four rows of six, march left first, a cell every 13 steps; at a side they turn and come
// down a row instead. The fewer are left, the faster: n of them wait n steps at most. Every 11 steps the lowest alien
// of the column that is nearest to the cannon (the left one of two) fires. Each alien that is hit earns 1; when all are
// gone the next wave comes, whose aliens wait a step less, down to 6. The episode ends when an alien or a bullet gets
// to the cannon, or when aliens turn on the bottom row.
//
// The same games as the package minatar 1.0.15: minatar_test.py.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <limits>

#include "actor/env/minatar.h"

namespace headrace {
namespace {

using minatar::Button;
using minatar::kSize;

constexpr int kBottomRow = kSize - 1;
constexpr int kWaveRows = 4;
constexpr int kWaveLeft = 2;
constexpr int kWaveRight = 7;
constexpr int kShotInterval = 5;
constexpr int kMoveInterval = 12;
constexpr int kFastestMoveInterval = 6;
constexpr int kAlienShotInterval = 10;

enum Channel { kCannon, kAlien, kAlienLeft, kAlienRight, kOwnBullet, kAlienBullet, kChannels };

EnvironmentFacts Facts() {
  return {.name = "MinAtar/SpaceInvaders",
          .summary = "shoot aliens that come down; pixels",
          .source = "MinAtar 1.0.15, arXiv:1903.03176",
          .observation = {.data_type = v1::UINT8, .shape = {kChannels, kSize, kSize}},
          .max_episode_steps = minatar::kMaxEpisodeSteps,
          .reward_threshold = std::numeric_limits<double>::quiet_NaN()};
}

// Which cells of the screen are taken; rows of columns.
using Row = std::array<bool, kSize>;
using Grid = std::array<Row, kSize>;

void MoveUp(Grid& grid) { std::rotate(grid.begin(), grid.begin() + 1, grid.end()); }
void MoveDown(Grid& grid) { std::rotate(grid.begin(), grid.end() - 1, grid.end()); }

bool HasColumn(const Grid& grid, int column) {
  return std::any_of(grid.begin(), grid.end(), [column](const Row& row) { return row[column]; });
}

bool HasRow(const Row& row) { return std::find(row.begin(), row.end(), true) != row.end(); }

int Count(const Grid& grid) {
  int count = 0;
  for (const Row& row : grid) count += static_cast<int>(std::count(row.begin(), row.end(), true));
  return count;
}

class SpaceInvaders {
 public:
  void Reset(RandomStream&) {
    *this = SpaceInvaders();
    NewWave();
  }

  StepResult Step(Button button, RandomStream&) {
    StepResult result;
    if (button == Button::kLeft) cannon_ = std::max(cannon_ - 1, 0);
    if (button == Button::kRight) cannon_ = std::min(cannon_ + 1, kSize - 1);
    if (button == Button::kFire && shot_timer_ == 0) {
      own_bullets_[kBottomRow][cannon_] = true;
      shot_timer_ = kShotInterval;
    }
    MoveUp(own_bullets_);
    own_bullets_[kBottomRow] = {};
    MoveDown(alien_bullets_);
    alien_bullets_[0] = {};
    if (alien_bullets_[kBottomRow][cannon_] || aliens_[kBottomRow][cannon_]) result.terminated = true;

    if (move_timer_ == 0) March(result);
    if (alien_shot_timer_ == 0) Fire();
    result.reward = Hit();

    shot_timer_ = std::max(shot_timer_ - 1, 0);
    --move_timer_;
    --alien_shot_timer_;
    if (Count(aliens_) == 0) {
      move_interval_ = std::max(move_interval_ - 1, kFastestMoveInterval);
      NewWave();
    }
    return result;
  }

  void Draw(minatar::Screen& screen) const {
    screen.Set(kCannon, kBottomRow, cannon_);
    for (int row = 0; row < kSize; ++row) {
      for (int column = 0; column < kSize; ++column) {
        if (aliens_[row][column]) screen.Set(kAlien, row, column);
        if (aliens_[row][column]) screen.Set(direction_ < 0 ? kAlienLeft : kAlienRight, row, column);
        if (own_bullets_[row][column]) screen.Set(kOwnBullet, row, column);
        if (alien_bullets_[row][column]) screen.Set(kAlienBullet, row, column);
      }
    }
  }

  void EachNumber(minatar::StateArchive& archive) {
    archive(cannon_, shot_timer_, own_bullets_, alien_bullets_, aliens_, direction_, move_interval_, move_timer_,
            alien_shot_timer_);
  }

 private:
  void NewWave() {
    for (int row = 0; row < kWaveRows; ++row) {
      std::fill(aliens_[row].begin() + kWaveLeft, aliens_[row].begin() + kWaveRight + 1, true);
    }
  }

  void March(StepResult& result) {
    move_timer_ = std::min(Count(aliens_), move_interval_);
    if (HasColumn(aliens_, direction_ < 0 ? 0 : kSize - 1)) {
      direction_ = -direction_;
      if (HasRow(aliens_[kBottomRow])) result.terminated = true;
      MoveDown(aliens_);
    } else {
      for (Row& row : aliens_) {
        // By a cell to the left, or to the right.
        std::rotate(row.begin(), direction_ < 0 ? row.begin() + 1 : row.end() - 1, row.end());
      }
    }
    if (aliens_[kBottomRow][cannon_]) result.terminated = true;
  }

  void Fire() {
    alien_shot_timer_ = kAlienShotInterval;
    int nearest = -1;
    for (int column = 0; column < kSize; ++column) {
      if (!HasColumn(aliens_, column)) continue;
      if (nearest < 0 || std::abs(column - cannon_) < std::abs(nearest - cannon_)) nearest = column;
    }
    int lowest = kBottomRow;
    while (!aliens_[lowest][nearest]) --lowest;
    alien_bullets_[lowest][nearest] = true;
  }

  // Removes the aliens that a bullet is at, and the bullet; their number.
  int Hit() {
    int hits = 0;
    for (int row = 0; row < kSize; ++row) {
      for (int column = 0; column < kSize; ++column) {
        if (!aliens_[row][column] || !own_bullets_[row][column]) continue;
        aliens_[row][column] = own_bullets_[row][column] = false;
        ++hits;
      }
    }
    return hits;
  }

  int cannon_ = 5;
  int shot_timer_ = 0;
  Grid own_bullets_{};
  Grid alien_bullets_{};
  Grid aliens_{};
  int direction_ = -1;  // 1 to the right
  int move_interval_ = kMoveInterval;
  int move_timer_ = kMoveInterval;
  int alien_shot_timer_ = kAlienShotInterval;
};

}  // namespace

EnvironmentEntries MinAtarSpaceInvaders() {
  return minatar::EntriesOf<SpaceInvaders>(Facts(), {Button::kNone, Button::kLeft, Button::kRight, Button::kFire});
}

}  // namespace headrace
