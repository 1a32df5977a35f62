// MinAtar's Seaquest: steer a submarine, rescue divers, shoot enemies, and come up for air in time.
//
// The player's submarine, two cells long, starts at the surface, row 0, and moves in rows 0 to 8; it looks where it
// last went, left or right. Its gun fires every fifth step, one bullet that flies a cell a step and already does so in
// the step of the shot. Every 20 steps at first, an enemy enters rows 1 to 8 from a side, unless one that goes the
// other way is in that row: a submarine (one in three), which shoots every 11 steps, or a fish. Every 30 steps a diver
// swims in. Enemies and divers wait 5 steps before each cell at first.
//
// Each enemy that a bullet hits earns 1. A diver that is touched comes on board, where there is room for six. Under
// water the oxygen, 200 steps of it, runs out. Surfacing with divers fills it up and takes one of them off; with six it
// takes all of them and earns up to 10, the share of oxygen left. Each surfacing makes enemies come sooner, down to
// every step, and every other one faster, down to 2 steps a cell. The episode ends at the touch of an enemy or its
// bullet, without oxygen, or when surfacing without divers.
//
// The package takes one diver off after it has taken all six, and so does this: the count is then -1, and the next
// surfacing needs no diver.
//
// The same games as the package minatar 1.0.15: minatar_test.py. Things move in the order of their lists, last to
// first.
#include <algorithm>
#include <limits>
#include <vector>

#include "actor/env/minatar.h"

namespace headrace {
namespace {

using minatar::Button;
using minatar::kSize;

constexpr int kTopRow = 0;
constexpr int kBottomRow = 8;
constexpr int kGaugeRow = 9;
constexpr int kMaxOxygen = 200;
constexpr int kMaxDivers = 6;
constexpr int kShotInterval = 5;
constexpr int kEnemyInterval = 20;
constexpr int kEnemyShotInterval = 10;
constexpr int kEnemyMoveInterval = 5;
constexpr int kFastestEnemyMoveInterval = 2;
constexpr int kDiverInterval = 30;
constexpr int kDiverMoveInterval = 5;

enum Channel {
  kFront,
  kBack,
  kOwnBullet,
  kTrail,
  kEnemyBullet,
  kFish,
  kSubmarine,
  kOxygenGauge,
  kDiverGauge,
  kDiver,
  kChannels
};

EnvironmentFacts Facts() {
  return {.name = "MinAtar/Seaquest",
          .summary = "rescue divers with a submarine; pixels",
          .source = "MinAtar 1.0.15, arXiv:1903.03176",
          .observation = {.data_type = v1::UINT8, .shape = {kChannels, kSize, kSize}},
          .max_episode_steps = minatar::kMaxEpisodeSteps,
          .reward_threshold = std::numeric_limits<double>::quiet_NaN()};
}

// A bullet, an enemy or a diver.
struct Swimmer {
  int row = 0;
  int column = 0;
  int direction = 0;   // 1 to the right or -1
  int move_timer = 0;  // bullets move every step
  int shot_timer = 0;  // of enemy submarines

  bool outside() const { return column < 0 || column >= kSize; }
  bool at(int other_row, int other_column) const { return row == other_row && column == other_column; }
  void EachNumber(minatar::StateArchive& archive) { archive(row, column, direction, move_timer, shot_timer); }
};

using Swimmers = std::vector<Swimmer>;

// Removes the first one in the cell; false: there is none.
bool RemoveAt(Swimmers& swimmers, int row, int column) {
  const auto found =
      std::find_if(swimmers.begin(), swimmers.end(), [&](const Swimmer& swimmer) { return swimmer.at(row, column); });
  if (found == swimmers.end()) return false;
  swimmers.erase(found);
  return true;
}

class Seaquest {
 public:
  void Reset(RandomStream&) { *this = Seaquest(); }

  StepResult Step(Button button, RandomStream& random) {
    if (enemy_timer_ == 0) {
      SpawnEnemy(random);
      enemy_timer_ = enemy_interval_;
    }
    if (diver_timer_ == 0) {
      Swimmer diver = Enter(random);
      diver.row = DrawRow(random);
      diver.move_timer = kDiverMoveInterval;
      divers_.push_back(diver);
      diver_timer_ = kDiverInterval;
    }
    Steer(button);
    StepResult result;
    MoveOwnBullets(result);
    MoveDivers();
    MoveEnemies(submarines_, result);
    MoveEnemyBullets(result);
    MoveEnemies(fish_, result);
    enemy_timer_ = std::max(enemy_timer_ - 1, 0);
    diver_timer_ = std::max(diver_timer_ - 1, 0);
    shot_timer_ = std::max(shot_timer_ - 1, 0);
    Breathe(result);
    return result;
  }

  void Draw(minatar::Screen& screen) const {
    screen.Set(kFront, row_, column_);
    screen.Set(kBack, row_, column_ - direction_);
    for (int i = 0; i < std::max(oxygen_, 0) * kSize / kMaxOxygen; ++i) screen.Set(kOxygenGauge, kGaugeRow, i);
    for (int i = 0; i < divers_on_board_; ++i) screen.Set(kDiverGauge, kGaugeRow, kSize - 2 - i);
    for (const Swimmer& bullet : own_bullets_) screen.Set(kOwnBullet, bullet.row, bullet.column);
    for (const Swimmer& bullet : enemy_bullets_) screen.Set(kEnemyBullet, bullet.row, bullet.column);
    DrawWithTrails(screen, kFish, fish_);
    DrawWithTrails(screen, kSubmarine, submarines_);
    DrawWithTrails(screen, kDiver, divers_);
  }

  void EachNumber(minatar::StateArchive& archive) {
    archive(row_, column_, direction_, surfaced_, oxygen_, divers_on_board_, shot_timer_, own_bullets_, divers_, fish_,
            submarines_, enemy_bullets_, enemy_interval_, enemy_timer_, enemy_move_interval_, diver_timer_, ramps_);
  }

 private:
  static Swimmer Enter(RandomStream& random) {
    const bool from_left = random.Uniform() < 0.5;
    return {.column = from_left ? 0 : kSize - 1, .direction = from_left ? 1 : -1};
  }

  static int DrawRow(RandomStream& random) { return 1 + static_cast<int>(random.Below(kBottomRow)); }

  void SpawnEnemy(RandomStream& random) {
    Swimmer enemy = Enter(random);
    const bool submarine = random.Uniform() < 1.0 / 3.0;
    enemy.row = DrawRow(random);
    enemy.move_timer = enemy_move_interval_;
    enemy.shot_timer = submarine ? kEnemyShotInterval : 0;
    for (const Swimmers* others : {&submarines_, &fish_}) {
      for (const Swimmer& other : *others) {
        if (other.row == enemy.row && other.direction != enemy.direction) return;
      }
    }
    (submarine ? submarines_ : fish_).push_back(enemy);
  }

  void Steer(Button button) {
    if (button == Button::kFire && shot_timer_ == 0) {
      own_bullets_.push_back({.row = row_, .column = column_, .direction = direction_});
      shot_timer_ = kShotInterval;
    }
    if (button == Button::kUp) row_ = std::max(row_ - 1, kTopRow);
    if (button == Button::kDown) row_ = std::min(row_ + 1, kBottomRow);
    if (button != Button::kLeft && button != Button::kRight) return;
    direction_ = button == Button::kLeft ? -1 : 1;
    column_ = std::clamp(column_ + direction_, 0, kSize - 1);
  }

  void MoveOwnBullets(StepResult& result) {
    for (size_t i = own_bullets_.size(); i-- > 0;) {
      Swimmer& bullet = own_bullets_[i];
      bullet.column += bullet.direction;
      const bool hits = RemoveAt(fish_, bullet.row, bullet.column) || RemoveAt(submarines_, bullet.row, bullet.column);
      if (hits) result.reward += 1;
      if (hits || bullet.outside()) own_bullets_.erase(own_bullets_.begin() + i);
    }
  }

  void MoveDivers() {
    const auto comes_on_board = [&](const Swimmer& diver) {
      return diver.at(row_, column_) && divers_on_board_ < kMaxDivers;
    };
    for (size_t i = divers_.size(); i-- > 0;) {
      Swimmer& diver = divers_[i];
      bool on_board = comes_on_board(diver);
      if (!on_board && diver.move_timer-- == 0) {
        diver.move_timer = kDiverMoveInterval;
        diver.column += diver.direction;
        on_board = comes_on_board(diver);
      }
      if (on_board) ++divers_on_board_;
      if (on_board || diver.outside()) divers_.erase(divers_.begin() + i);
    }
  }

  // Submarines shoot besides, even in the step in which they go.
  void MoveEnemies(Swimmers& enemies, StepResult& result) {
    for (size_t i = enemies.size(); i-- > 0;) {
      Swimmer& enemy = enemies[i];
      bool gone = false;
      if (enemy.at(row_, column_)) result.terminated = true;
      if (enemy.move_timer-- == 0) {
        enemy.move_timer = enemy_move_interval_;
        enemy.column += enemy.direction;
        if (enemy.outside()) {
          gone = true;
        } else if (enemy.at(row_, column_)) {
          result.terminated = true;
        } else if (RemoveAt(own_bullets_, enemy.row, enemy.column)) {
          result.reward += 1;
          gone = true;
        }
      }
      if (&enemies == &submarines_ && enemy.shot_timer-- == 0) {
        enemy.shot_timer = kEnemyShotInterval;
        enemy_bullets_.push_back({.row = enemy.row, .column = enemy.column, .direction = enemy.direction});
      }
      if (gone) enemies.erase(enemies.begin() + i);
    }
  }

  void MoveEnemyBullets(StepResult& result) {
    for (size_t i = enemy_bullets_.size(); i-- > 0;) {
      Swimmer& bullet = enemy_bullets_[i];
      if (bullet.at(row_, column_)) result.terminated = true;
      bullet.column += bullet.direction;
      if (bullet.at(row_, column_)) result.terminated = true;
      if (bullet.outside()) enemy_bullets_.erase(enemy_bullets_.begin() + i);
    }
  }

  void Breathe(StepResult& result) {
    if (oxygen_ <= 0) result.terminated = true;
    if (row_ > kTopRow) {
      --oxygen_;
      surfaced_ = false;
    } else if (!surfaced_) {
      if (divers_on_board_ == 0) {
        result.terminated = true;
      } else {
        Surface(result);
      }
    }
  }

  void Surface(StepResult& result) {
    surfaced_ = true;
    if (divers_on_board_ == kMaxDivers) {
      divers_on_board_ = 0;
      result.reward += oxygen_ * kSize / kMaxOxygen;
    }
    oxygen_ = kMaxOxygen;
    --divers_on_board_;
    if (enemy_interval_ == 1 && enemy_move_interval_ == kFastestEnemyMoveInterval) return;
    if (ramps_ % 2 == 1) enemy_move_interval_ = std::max(enemy_move_interval_ - 1, kFastestEnemyMoveInterval);
    enemy_interval_ = std::max(enemy_interval_ - 1, 1);
    ++ramps_;
  }

  static void DrawWithTrails(minatar::Screen& screen, Channel channel, const Swimmers& swimmers) {
    for (const Swimmer& swimmer : swimmers) {
      screen.Set(channel, swimmer.row, swimmer.column);
      screen.Set(kTrail, swimmer.row, swimmer.column - swimmer.direction);
    }
  }

  int row_ = kTopRow;
  int column_ = 5;
  int direction_ = -1;
  bool surfaced_ = true;
  int oxygen_ = kMaxOxygen;
  int divers_on_board_ = 0;
  int shot_timer_ = 0;
  Swimmers own_bullets_;
  Swimmers divers_;
  Swimmers fish_;
  Swimmers submarines_;
  Swimmers enemy_bullets_;
  int enemy_interval_ = kEnemyInterval;
  int enemy_timer_ = kEnemyInterval;
  int enemy_move_interval_ = kEnemyMoveInterval;
  int diver_timer_ = kDiverInterval;
  int ramps_ = 0;
};

}  // namespace

EnvironmentEntries MinAtarSeaquest() {
  return minatar::EntriesOf<Seaquest>(Facts(), {std::begin(minatar::kAllButtons), std::end(minatar::kAllButtons)});
}

}  // namespace headrace
