#include "learner/checkpoint_schedule.h"

#include <algorithm>

#include "common/seconds.h"

namespace headrace {

CheckpointSchedule::CheckpointSchedule(double interval_seconds, bool resumed, Time now)
    : interval_seconds_(interval_seconds),
      next_interval_seconds_(resumed ? interval_seconds : std::min(kFirstSeconds, interval_seconds)),
      last_(now) {}

bool CheckpointSchedule::due(Time now) const {
  return due_now_ || (next_interval_seconds_ > 0 && Seconds(now - last_) >= next_interval_seconds_);
}

void CheckpointSchedule::Started(Time now) {
  last_ = now;
  due_now_ = false;
  next_interval_seconds_ = std::min(2 * next_interval_seconds_, interval_seconds_);
}

}  // namespace headrace
