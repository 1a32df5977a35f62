// Books the time in which no update is done by what was waited for, each moment once.
//
//   waiting.Begin();                                   // an update is done: what follows is waiting
//   waiting.Count(ReplaySampler::Wait::kActors);       // what came until now was for actors
//   waiting.LeaveOut(duration);                        // of something else that was done meanwhile
//
// Not thread-safe.
#ifndef HEADRACE_LEARNER_WAITING_TIME_H_
#define HEADRACE_LEARNER_WAITING_TIME_H_

#include <chrono>

#include "common/metrics.h"
#include "common/seconds.h"
#include "learner/learner_metrics.h"
#include "replay/sampler.h"

namespace headrace {

class WaitingTime {
 public:
  using Clock = std::chrono::steady_clock;

  // `metrics` must outlive this. Waiting begins at `begin`.
  WaitingTime(const LearnerMetrics::Waiting* metrics, Clock::time_point begin)
      : metrics_(metrics), begin_(begin), counted_until_(begin) {}

  void Begin(Clock::time_point begin = Clock::now()) { begin_ = counted_until_ = begin; }
  // What is not booked yet of the time until `end`.
  void Count(prometheus::Counter& what, Clock::time_point end = Clock::now());
  void Count(ReplaySampler::Wait what, Clock::time_point end = Clock::now());
  // So much was no waiting, of the time that is not booked yet.
  void LeaveOut(Clock::duration duration);
  // Seconds from the begin until `end`, without what was left out.
  double Waited(Clock::time_point end) const { return Seconds(end - begin_); }

 private:
  const LearnerMetrics::Waiting* const metrics_;
  Clock::time_point begin_;
  Clock::time_point counted_until_;
};

}  // namespace headrace

#endif  // HEADRACE_LEARNER_WAITING_TIME_H_
