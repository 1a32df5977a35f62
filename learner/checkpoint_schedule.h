// When checkpoints are due. What has just begun must not be lost for want of one: of a new run the first is due soon,
// and each of the next after twice the time, until it is as configured.
//
// Not thread-safe.
#ifndef HEADRACE_LEARNER_CHECKPOINT_SCHEDULE_H_
#define HEADRACE_LEARNER_CHECKPOINT_SCHEDULE_H_

#include <chrono>

namespace headrace {

class CheckpointSchedule {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr double kFirstSeconds = 10;

  // `interval_seconds`: 0 or less: none is ever due. A resumed run keeps to the interval from the start: if it goes
  // wrong soon, it must not push out the checkpoints from before.
  CheckpointSchedule(double interval_seconds, bool resumed, Time now);

  bool due(Time now) const;
  void MakeDue() { due_now_ = interval_seconds_ > 0; }
  // One is being written.
  void Started(Time now);

 private:
  const double interval_seconds_;  // as configured
  double next_interval_seconds_;   // grows to it
  Time last_;
  bool due_now_ = false;
};

}  // namespace headrace

#endif  // HEADRACE_LEARNER_CHECKPOINT_SCHEDULE_H_
