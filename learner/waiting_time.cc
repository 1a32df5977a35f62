#include "learner/waiting_time.h"

namespace headrace {
namespace {

prometheus::Counter& CounterOf(ReplaySampler::Wait wait, const LearnerMetrics::Waiting& metrics) {
  switch (wait) {
    case ReplaySampler::Wait::kShards:
      return metrics.shards;
    case ReplaySampler::Wait::kActors:
      return metrics.actors;
    case ReplaySampler::Wait::kItems:
      return metrics.items;
    case ReplaySampler::Wait::kBatch:
    case ReplaySampler::Wait::kNothing:
      return metrics.batch;
  }
  return metrics.batch;
}

}  // namespace

void WaitingTime::Count(prometheus::Counter& what, Clock::time_point end) {
  if (end <= counted_until_) return;
  what.Increment(Seconds(end - counted_until_));
  counted_until_ = end;
}

void WaitingTime::Count(ReplaySampler::Wait what, Clock::time_point end) { Count(CounterOf(what, *metrics_), end); }

void WaitingTime::LeaveOut(Clock::duration duration) {
  begin_ += duration;
  counted_until_ += duration;
}

}  // namespace headrace
