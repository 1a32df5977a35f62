// MinAtar's Freeway: cross a road of eight lanes.
//
// The player starts in row 9 of column 4 and can take a step up or down every third step. Arriving at row 0 earns 1 and
// takes the player back to row 9. A car drives in each of the rows 1 to 8, to the left or the right, and comes in again
// on the other side; a car of speed n waits n steps before each cell. Speeds (1 to 5) and directions are drawn at the
// start and after each crossing. A car that touches the player throws it back to row 9. Only the time limit of 2,501
// steps ends an episode.
//
// The same games as the package minatar 1.0.15, minatar_test.py, but for one difference: the package calls the end of
// time a terminal state.
#include <algorithm>
#include <array>
#include <limits>

#include "actor/env/minatar.h"

namespace headrace {
namespace {

using minatar::Button;
using minatar::kSize;

constexpr int kPlayerColumn = 4;
constexpr int kStartRow = 9;
constexpr int kPlayerInterval = 3;
constexpr int kCars = 8;  // car i is in row i + 1
constexpr int kSpeeds = 5;

enum Channel { kChicken, kCar, kSpeed1, kChannels = kSpeed1 + kSpeeds };

EnvironmentFacts Facts() {
  return {.name = "MinAtar/Freeway",
          .summary = "cross a road of eight lanes; pixels",
          .source = "MinAtar 1.0.15, arXiv:1903.03176",
          .observation = {.data_type = v1::UINT8, .shape = {kChannels, kSize, kSize}},
          .max_episode_steps = 2501,
          .reward_threshold = std::numeric_limits<double>::quiet_NaN()};
}

struct Car {
  int column = 0;
  int direction = 0;  // 1 to the right or -1
  int speed = 0;      // 1 is the fastest
  int timer = 0;

  void EachNumber(minatar::StateArchive& archive) { archive(column, direction, speed, timer); }
};

class Freeway {
 public:
  void Reset(RandomStream& random) {
    *this = Freeway();
    DrawSpeeds(random);
  }

  StepResult Step(Button button, RandomStream& random) {
    StepResult result;
    if (move_timer_ == 0 && (button == Button::kUp || button == Button::kDown)) {
      row_ = std::clamp(row_ + (button == Button::kUp ? -1 : 1), 0, kStartRow);
      move_timer_ = kPlayerInterval;
    }
    if (row_ == 0) {
      result.reward = 1;
      row_ = kStartRow;
      DrawSpeeds(random);
    }
    for (int i = 0; i < kCars; ++i) {
      Car& car = cars_[i];
      Touch(i);
      if (car.timer == 0) {
        car.column = (car.column + car.direction + kSize) % kSize;
        car.timer = car.speed;
        Touch(i);
      } else {
        --car.timer;
      }
    }
    move_timer_ = std::max(move_timer_ - 1, 0);
    return result;
  }

  void Draw(minatar::Screen& screen) const {
    screen.Set(kChicken, row_, kPlayerColumn);
    for (int i = 0; i < kCars; ++i) {
      const Car& car = cars_[i];
      screen.Set(kCar, i + 1, car.column);
      screen.Set(kSpeed1 + car.speed - 1, i + 1, (car.column - car.direction + kSize) % kSize);
    }
  }

  void EachNumber(minatar::StateArchive& archive) { archive(row_, move_timer_, cars_); }

 private:
  void DrawSpeeds(RandomStream& random) {
    for (Car& car : cars_) car.speed = car.timer = 1 + static_cast<int>(random.Below(kSpeeds));
    for (Car& car : cars_) car.direction = random.Uniform() < 0.5 ? -1 : 1;
  }

  void Touch(int i) {
    if (row_ == i + 1 && cars_[i].column == kPlayerColumn) row_ = kStartRow;
  }

  int row_ = kStartRow;
  int move_timer_ = kPlayerInterval;
  std::array<Car, kCars> cars_{};
};

}  // namespace

EnvironmentEntries MinAtarFreeway() {
  return minatar::EntriesOf<Freeway>(Facts(), {Button::kNone, Button::kUp, Button::kDown});
}

}  // namespace headrace
