// Finds the setting of some knobs with which most is learned, while the run goes on.
//
//   Autotuner tuner({{.name = "actors", .minimum = 1, .maximum = 8, .value = 8}}, /*trial_seconds=*/5);
//   if (const auto change = tuner.Observe(seconds, steps)) Apply(change->knob, change->value);
//
// Hill climbing that can be undone, one knob at a time. A trial compares a neighbour of the best setting so far with
// it:
//
//   best so far | neighbour | best so far, measured anew | neighbour, if it won both times
//
// The second measurement is made only where the neighbour won, so that neither noise nor a load that changes meanwhile
// makes it win. What is clearly worse is not looked at to its end. Each knob is doubled and halved, then changed by a
// quarter, at least by one. While nothing wins the pauses between trials grow; a best setting that has become clearly
// faster or slower ends them.
//
// Has no clock and no threads: everything follows from what it is told. Not thread-safe.
#ifndef HEADRACE_LEARNER_AUTOTUNER_H_
#define HEADRACE_LEARNER_AUTOTUNER_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

namespace headrace {

class Autotuner {
 public:
  struct Knob {
    std::string name;
    int minimum = 1;
    int maximum = 1;
    int value = 1;  // at first; then the best so far
  };
  enum class Reason {
    kTry,
    kCompare,   // a neighbour has won: back to the best so far, to measure that anew
    kRollBack,  // a neighbour has lost
    kKeep,      // a neighbour has won again, and is the best so far
  };
  // To be applied at once.
  struct Change {
    size_t knob;
    int value;
    Reason reason;
    int from;  // the value before
    // Steps a second as measured last before this: of the best so far, and of the newest neighbour.
    double best = 0;
    double tried = 0;
  };

  // trial_seconds: how long each setting is looked at, of which the first quarter is left out. Where things happen
  // rarely it is looked at for longer.
  Autotuner(std::vector<Knob> knobs, double trial_seconds);

  // So many steps were learned in the seconds since the last call. Before the first of them there is nothing to
  // compare.
  std::optional<Change> Observe(double seconds, double steps);

  const std::vector<Knob>& knobs() const { return knobs_; }
  bool trying() const { return phase_ != Phase::kBest; }
  uint64_t trials() const { return trials_; }
  uint64_t rollbacks() const { return rollbacks_; }
  // Of the last window that was looked at to its end; 0: of none.
  double steps_per_second() const { return last_rate_; }

 private:
  enum class Phase { kBest, kNeighbour, kBestAgain };
  // What was learned with one setting.
  struct Window {
    double seconds = 0;
    double steps = 0;
    int events = 0;  // calls of Observe with steps: a few say little
    // Its parts, whose rates say how much they differ by chance.
    double part_seconds = 0;
    double part_steps = 0;
    int parts = 0;
    double mean = 0;
    double squares = 0;

    void Add(double duration, double learned, double part);
    double Rate() const { return seconds > 0 ? steps / seconds : 0; }
    double Variance() const;  // of the mean of the parts' rates
  };
  struct Move {
    size_t knob;
    bool up;
    bool far;  // twice or half as much
  };

  static bool Wins(const Window& window, const Window& over);
  bool Complete() const;
  bool Hopeless() const;
  std::optional<Change> EndBest();
  std::optional<Change> EndNeighbour();
  std::optional<Change> EndBestAgain();
  std::optional<Change> Try();
  Change Apply(int value, Reason reason);
  void BeginRound();
  int Neighbour(const Move& move) const;

  std::vector<Knob> knobs_;
  const double trial_seconds_;

  Phase phase_ = Phase::kBest;
  bool learning_ = false;  // the first steps have been learned
  double settling_;        // seconds that are still left out
  Window window_;          // of the setting now
  Window best_;            // of the best so far
  Window tried_;           // of the newest neighbour
  double usual_ = 0;       // its rate when this round began; 0: not known
  std::deque<Move> round_;
  Move move_{};        // of the trial
  int neighbour_ = 0;  // what it has tried
  int applied_ = 0;    // the value of its knob now
  int pause_;          // windows between two trials
  int rest_ = 0;       // that are left of it
  uint64_t trials_ = 0;
  uint64_t rollbacks_ = 0;
  double last_rate_ = 0;
};

}  // namespace headrace

#endif  // HEADRACE_LEARNER_AUTOTUNER_H_
