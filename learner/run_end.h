// When a run is over: by steps, time or score, whichever comes first.
#ifndef HEADRACE_LEARNER_RUN_END_H_
#define HEADRACE_LEARNER_RUN_END_H_

#include <cstdint>
#include <optional>
#include <string>

#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"
#include "replay/ratio.h"

namespace headrace {

// Why the run is over; empty: it is not. `ratio`: of its updates to its steps; null: not known yet, and the updates
// that the last steps allow are taken for done.
std::string RunEnd(const v1::StopConfig& stop, const v1::Counters& counters, double wall_seconds,
                   const std::optional<Ratio>& ratio);

// In the last evaluations, as often in a row as is asked for.
bool ScoreReached(const v1::StopConfig& stop, const v1::Counters& counters);

// The share of its environment steps that the run has done after so many; 0 in one without an end.
double ProgressAfter(const v1::StopConfig& stop, uint64_t env_steps);

}  // namespace headrace

#endif  // HEADRACE_LEARNER_RUN_END_H_
