// Updates per environment step, held whichever side is faster: how many batches may have been drawn after so many
// steps, and how many steps may have been inserted after so many updates.
//
// Immutable, so thread-safe.
#ifndef HEADRACE_REPLAY_RATIO_H_
#define HEADRACE_REPLAY_RATIO_H_

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace headrace {

struct Ratio {
  double updates_per_step = 1;
  uint64_t min_steps = 0;           // before the first update
  uint64_t lead_steps = 1;          // that insertion may be ahead
  uint64_t max_steps = UINT64_MAX;  // of the run
  bool held = true;                 // false: each side goes as fast as it can, and a queue's size keeps them together

  // Batches that may have been drawn when `steps` have been inserted: the most for which StepsNeeded is no more. The
  // product is only an estimate: where it rounds down although the quotient does not, both sides would wait for ever.
  uint64_t BatchesAllowed(uint64_t steps) const {
    if (!held) return UINT64_MAX;
    if (steps <= min_steps) return 0;
    uint64_t batches = Count(static_cast<double>(steps - min_steps) * updates_per_step);
    while (StepsNeeded(batches + 1) <= steps) ++batches;
    while (batches > 0 && StepsNeeded(batches) > steps) --batches;
    return batches;
  }
  // The fewest steps after which that many batches may have been drawn. Quotients that are whole numbers but for their
  // last bits count as whole.
  uint64_t StepsNeeded(uint64_t batches) const {
    if (!held) return 0;
    const double steps = static_cast<double>(batches) / updates_per_step;
    return min_steps + Count(std::ceil(steps * (1 - 1e-14)));
  }
  // Steps that may have been inserted when `updates` have been done: enough for the next update, if the run has one.
  uint64_t StepsAllowed(uint64_t updates) const {
    if (!held) return max_steps;
    const uint64_t next = StepsNeeded(updates + 1);
    const uint64_t done = min_steps + Count(static_cast<double>(updates) / updates_per_step);
    return std::min(max_steps, std::max(next, done + lead_steps));
  }

 private:
  // Of a number that no run reaches, as many as a double still counts one by one.
  static uint64_t Count(double number) { return static_cast<uint64_t>(std::min(number, 9007199254740992.0)); }
};

}  // namespace headrace

#endif  // HEADRACE_REPLAY_RATIO_H_
