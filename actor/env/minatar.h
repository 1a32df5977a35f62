// What the games of MinAtar have in common. Young and Tian, "MinAtar: An Atari-Inspired Testbed for Thorough and
// Reproducible Reinforcement Learning Experiments", arXiv:1903.03176.
//
// A game is a class with its rules alone; the environment around it adds what all share: with probability 0.1 a step
// repeats the action of the step before, and observations are planes of 0 and 1, uint8 [channels, 10, 10]. Each game
// comes as Gymnasium's package of MinAtar registers it: NAME-v0 takes all six buttons, NAME-v1 only those that do
// something in that game.
//
//   class Breakout {
//    public:
//     void Reset(RandomStream& random);
//     StepResult Step(Button button, RandomStream& random);
//     void Draw(Screen& screen) const;
//     void EachNumber(StateArchive& archive) { archive(paddle_, ball_row_, ...); }  // all that Step depends on
//   };
//   EnvironmentEntries MinAtarBreakout() { return minatar::EntriesOf<Breakout>(Facts(), {Button::kNone, ...}); }
//
// The package and these games make the same draws in the same order, so that given the same numbers both play the same
// episode (minatar_test.py). There are two differences: the planes come first here and last in the package, and the
// package lets the last action of an episode repeat in the first step of the next, where here kNone does.
//
// The package has no time limits. Games end after 10,000 steps here, because a good player may never lose and an
// evaluation waits for its episodes.
#ifndef HEADRACE_ACTOR_ENV_MINATAR_H_
#define HEADRACE_ACTOR_ENV_MINATAR_H_

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "actor/env/entry.h"
#include "actor/env/environment.h"
#include "common/random.h"
#include "common/status_macros.h"

namespace headrace::minatar {

constexpr int kSize = 10;  // rows and columns of the screen; row 0 is the top, column 0 the left
constexpr int kMaxEpisodeSteps = 10000;

enum class Button { kNone, kLeft, kUp, kRight, kDown, kFire };
constexpr Button kAllButtons[] = {Button::kNone,  Button::kLeft, Button::kUp,
                                  Button::kRight, Button::kDown, Button::kFire};

// An observation, empty at first.
class Screen {
 public:
  explicit Screen(std::span<std::byte> planes) : planes_(planes) {
    std::fill(planes.begin(), planes.end(), std::byte{0});
  }

  // What lies left or right of the screen is not drawn.
  void Set(int channel, int row, int column) {
    if (column >= 0 && column < kSize) planes_[(channel * kSize + row) * kSize + column] = std::byte{1};
  }

 private:
  const std::span<std::byte> planes_;
};

// Writes a game's state as numbers or reads it from them. What it is called with: ints, bools, vectors and arrays, and
// classes with an EachNumber of their own.
class StateArchive {
 public:
  StateArchive() = default;
  explicit StateArchive(std::span<const double> numbers) : reading_(true), numbers_(numbers.begin(), numbers.end()) {}

  template <typename... Parts>
  void operator()(Parts&... parts) {
    (Visit(parts), ...);
  }

  const std::vector<double>& numbers() const { return numbers_; }
  size_t visited() const { return visited_; }

 private:
  template <typename T>
  void Visit(T& part) {
    if constexpr (std::is_integral_v<T>) {
      Number(part);
    } else if constexpr (requires { part.EachNumber(*this); }) {
      part.EachNumber(*this);
    } else {
      if constexpr (requires { part.resize(0); }) {
        int size = static_cast<int>(part.size());
        Number(size);
        // At most one more than there are numbers for: enough for visited() to tell.
        if (reading_) part.resize(std::min<size_t>(size, std::max(numbers_.size(), visited_) - visited_ + 1));
      }
      for (auto& element : part) Visit(element);
    }
  }

  template <typename T>
  void Number(T& number) {
    if (!reading_) numbers_.push_back(number);
    if (reading_ && visited_ < numbers_.size()) number = static_cast<T>(numbers_[visited_]);
    ++visited_;
  }

  bool reading_ = false;
  std::vector<double> numbers_;
  size_t visited_ = 0;
};

template <typename Game>
class GameEnvironment final : public Environment {
 public:
  GameEnvironment(EnvironmentFacts facts, std::vector<Button> buttons)
      : facts_(std::move(facts)), buttons_(std::move(buttons)) {}

  const EnvironmentFacts& facts() const override { return facts_; }

  void Reset(RandomStream& random, std::span<std::byte> observation) override {
    random_ = &random;
    last_action_ = 0;
    game_.Reset(random);
    Observe(observation);
  }

  StepResult Step(const Action& action, std::span<std::byte> observation) override {
    if (random_->Uniform() >= kStickiness) last_action_ = action.discrete;
    const StepResult result = game_.Step(buttons_[last_action_], *random_);
    Observe(observation);
    return result;
  }

  std::vector<double> State() const override {
    StateArchive archive;
    Game game = game_;
    int last_action = last_action_;
    archive(last_action, game);
    return archive.numbers();
  }

  absl::Status SetState(std::span<const double> state) override {
    StateArchive archive(state);
    Game game = game_;
    int last_action = 0;
    archive(last_action, game);
    RETURN_IF_ERROR(CheckStateSize(facts_, archive.visited(), state.size()));
    last_action_ = last_action;
    game_ = std::move(game);
    return absl::OkStatus();
  }

 private:
  static constexpr double kStickiness = 0.1;

  void Observe(std::span<std::byte> observation) const {
    Screen screen(observation);
    game_.Draw(screen);
  }

  const EnvironmentFacts facts_;
  const std::vector<Button> buttons_;  // of each action
  RandomStream* random_ = nullptr;     // of the episode
  int last_action_ = 0;
  Game game_;
};

// NAME-v0 with all buttons and NAME-v1 with those given, of facts whose name is NAME.
template <typename Game>
EnvironmentEntries EntriesOf(const EnvironmentFacts& facts, const std::vector<Button>& minimal) {
  EnvironmentEntries entries;
  for (const auto& [version, buttons] :
       {std::pair("-v0", std::vector(std::begin(kAllButtons), std::end(kAllButtons))), std::pair("-v1", minimal)}) {
    EnvironmentFacts own = facts;
    own.name += version;
    own.action = {.discrete = static_cast<int>(buttons.size())};
    entries.push_back({std::move(own), [buttons = buttons](const EnvironmentFacts& known) {
                         return std::make_unique<GameEnvironment<Game>>(known, buttons);
                       }});
  }
  return entries;
}

}  // namespace headrace::minatar

#endif  // HEADRACE_ACTOR_ENV_MINATAR_H_
