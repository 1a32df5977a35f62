#include "learner/run_end.h"

#include <algorithm>

#include "absl/strings/str_format.h"

namespace headrace {

std::string RunEnd(const v1::StopConfig& stop, const v1::Counters& counters, double wall_seconds,
                   const std::optional<Ratio>& ratio) {
  if (ScoreReached(stop, counters)) {
    return absl::StrFormat("the score of %g is reached: %.1f", stop.score(), counters.last_evaluation());
  }
  if (stop.env_steps() > 0 && counters.env_steps() >= stop.env_steps()) {
    // The updates that the last steps allow belong to the run.
    const bool updates_missing =
        ratio.has_value() && ratio->held && counters.updates() < ratio->BatchesAllowed(stop.env_steps());
    if (!updates_missing) return absl::StrFormat("%d environment steps are done", counters.env_steps());
  }
  if (stop.wall_seconds() > 0 && wall_seconds >= stop.wall_seconds()) {
    return absl::StrFormat("%.0f seconds are over", stop.wall_seconds());
  }
  return "";
}

bool ScoreReached(const v1::StopConfig& stop, const v1::Counters& counters) {
  // It may have been another one before the run was resumed.
  const bool counted = !counters.has_counted_score() || counters.counted_score() == stop.score();
  return stop.has_score() && counted && counters.evaluations_at_score() >= stop.consecutive();
}

double ProgressAfter(const v1::StopConfig& stop, uint64_t env_steps) {
  if (stop.env_steps() == 0) return 0;
  return std::min(1.0, static_cast<double>(env_steps) / static_cast<double>(stop.env_steps()));
}

}  // namespace headrace
