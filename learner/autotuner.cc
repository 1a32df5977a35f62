#include "learner/autotuner.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace headrace {
namespace {

constexpr double kSettling = 0.25;    // of a trial: what was under way before a change is left out
constexpr double kWorthwhile = 0.05;  // of the best: less is not changed for
constexpr double kChance = 2.5;       // standard errors that a difference must have
constexpr int kParts = 8;             // of a window
constexpr int kEvents = 20;           // of a window, unless it takes longer than
constexpr double kLongest = 8;        // trials
constexpr double kHopeless = 0.5;  // of the best after a quarter of the window; after half of it, to be clearly worse
constexpr double kChanged = 0.3;   // of the usual rate: the load is another one
constexpr int kShortestPause = 1;  // windows
constexpr int kLongestPause = 64;

}  // namespace

void Autotuner::Window::Add(double duration, double learned, double part) {
  seconds += duration;
  steps += learned;
  events += learned > 0;
  part_seconds += duration;
  part_steps += learned;
  if (part_seconds < part) return;
  const double rate = part_steps / part_seconds;
  part_seconds = part_steps = 0;
  const double difference = rate - mean;
  mean += difference / ++parts;
  squares += difference * (rate - mean);
}

double Autotuner::Window::Variance() const { return parts > 1 ? squares / (parts - 1) / parts : 0; }

Autotuner::Autotuner(std::vector<Knob> knobs, double trial_seconds)
    : knobs_(std::move(knobs)),
      trial_seconds_(trial_seconds),
      settling_(kSettling * trial_seconds),
      pause_(kShortestPause) {
  BeginRound();
}

std::optional<Autotuner::Change> Autotuner::Observe(double seconds, double steps) {
  if (!learning_) {
    learning_ = steps > 0;
    return std::nullopt;
  }
  if (settling_ > 0) {
    settling_ -= seconds;
    return std::nullopt;
  }
  window_.Add(seconds, steps, (1 - kSettling) * trial_seconds_ / kParts);
  if (!Complete() && !Hopeless()) return std::nullopt;
  last_rate_ = window_.Rate();
  switch (phase_) {
    case Phase::kBest:
      return EndBest();
    case Phase::kNeighbour:
      return EndNeighbour();
    case Phase::kBestAgain:
      return EndBestAgain();
  }
  return std::nullopt;
}

bool Autotuner::Complete() const {
  if (window_.seconds < (1 - kSettling) * trial_seconds_) return false;
  return window_.events >= kEvents || window_.seconds >= kLongest * trial_seconds_;
}

bool Autotuner::Hopeless() const {
  if (phase_ != Phase::kNeighbour || window_.seconds < (1 - kSettling) * trial_seconds_ / 4) return false;
  const double expected = window_.seconds * best_.events / best_.seconds;
  if (expected < kEvents / 2.0) return false;
  return window_.Rate() < kHopeless * best_.Rate() || (window_.parts >= kParts / 2 && Wins(best_, window_));
}

bool Autotuner::Wins(const Window& window, const Window& over) {
  const double chance = kChance * std::sqrt(window.Variance() + over.Variance());
  return window.Rate() > over.Rate() + std::max(kWorthwhile * over.Rate(), chance);
}

std::optional<Autotuner::Change> Autotuner::EndBest() {
  best_ = std::exchange(window_, {});
  const double rate = best_.Rate();
  if (rate == 0) return std::nullopt;  // nothing is learned, whatever the reason: there is nothing to compare with
  const double chance = kChance * std::sqrt(best_.Variance());
  if (usual_ > 0 && std::abs(rate - usual_) > std::max(kChanged * usual_, chance)) {
    pause_ = kShortestPause;
    rest_ = 0;
    BeginRound();
    usual_ = rate;
  }
  if (usual_ == 0) usual_ = rate;
  if (rest_ > 0) {
    --rest_;
    return std::nullopt;
  }
  return Try();
}

std::optional<Autotuner::Change> Autotuner::Try() {
  // Twice, because a round may be over: after all its moves at most one full round is looked at.
  for (int round = 0; round < 2; ++round) {
    while (!round_.empty()) {
      move_ = round_.front();
      round_.pop_front();
      neighbour_ = Neighbour(move_);
      applied_ = knobs_[move_.knob].value;
      // Nearby it may be the one that was far.
      if (neighbour_ == applied_ || (!move_.far && neighbour_ == Neighbour({move_.knob, move_.up, true}))) continue;
      phase_ = Phase::kNeighbour;
      rest_ = pause_;
      ++trials_;
      return Apply(neighbour_, Reason::kTry);
    }
    pause_ = std::min(2 * pause_, kLongestPause);
    usual_ = best_.Rate();
    BeginRound();
  }
  return std::nullopt;
}

std::optional<Autotuner::Change> Autotuner::EndNeighbour() {
  tried_ = std::exchange(window_, {});
  const bool won = Wins(tried_, best_);
  phase_ = won ? Phase::kBestAgain : Phase::kBest;
  if (!won) ++rollbacks_;
  return Apply(knobs_[move_.knob].value, won ? Reason::kCompare : Reason::kRollBack);
}

std::optional<Autotuner::Change> Autotuner::EndBestAgain() {
  best_ = std::exchange(window_, {});
  if (best_.Rate() == 0) return std::nullopt;  // as in EndBest
  phase_ = Phase::kBest;
  if (!Wins(tried_, best_)) {
    ++rollbacks_;
    return rest_ > 0 ? std::nullopt : Try();
  }
  const Change change = Apply(neighbour_, Reason::kKeep);
  knobs_[move_.knob].value = neighbour_;
  best_ = tried_;
  usual_ = tried_.Rate();
  pause_ = kShortestPause;
  rest_ = 0;
  BeginRound();
  round_.push_front(move_);  // further in the direction that was right
  return change;
}

Autotuner::Change Autotuner::Apply(int value, Reason reason) {
  const Change change = {.knob = move_.knob,
                         .value = value,
                         .reason = reason,
                         .from = applied_,
                         .best = best_.Rate(),
                         .tried = tried_.Rate()};
  applied_ = value;
  window_ = {};
  settling_ = kSettling * trial_seconds_;
  return change;
}

void Autotuner::BeginRound() {
  round_.clear();
  for (const bool far : {true, false}) {
    for (size_t knob = 0; knob < knobs_.size(); ++knob) {
      for (const bool up : {true, false}) round_.push_back({knob, up, far});
    }
  }
}

int Autotuner::Neighbour(const Move& move) const {
  const Knob& knob = knobs_[move.knob];
  const int step = move.far ? (move.up ? knob.value : knob.value - knob.value / 2) : std::max(1, knob.value / 4);
  return std::clamp(move.up ? knob.value + step : knob.value - step, knob.minimum, knob.maximum);
}

}  // namespace headrace
