// Time as something that is passed in, so that what waits and measures is tested without waiting.
//
//   Batcher batcher(options, RealClock());
//   FakeClock clock;  // in tests
//   clock.Advance(absl::Milliseconds(5));
//
// Thread-safe.
#ifndef HEADRACE_COMMON_CLOCK_H_
#define HEADRACE_COMMON_CLOCK_H_

#include <atomic>
#include <chrono>
#include <cstdint>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace headrace {

class Clock {
 public:
  virtual ~Clock() = default;

  // Time since some moment before the process began. Never goes back: for durations and deadlines.
  virtual absl::Duration Monotonic() const = 0;
  // The time of day, which may jump: for people and files.
  virtual absl::Time Wall() const = 0;
};

// Lives forever.
inline Clock* RealClock() {
  class SystemClock : public Clock {
   public:
    absl::Duration Monotonic() const override {
      return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
    }
    absl::Time Wall() const override { return absl::Now(); }
  };
  static SystemClock clock;
  return &clock;
}

// Stands still until it is told to go on. Both times advance together; the time of day may be set apart.
class FakeClock : public Clock {
 public:
  explicit FakeClock(absl::Time wall = absl::FromUnixSeconds(1'700'000'000)) : wall_(absl::ToUnixNanos(wall)) {}

  absl::Duration Monotonic() const override { return absl::Nanoseconds(monotonic_.load()); }
  absl::Time Wall() const override { return absl::FromUnixNanos(wall_.load()); }

  void Advance(absl::Duration duration) {
    monotonic_ += absl::ToInt64Nanoseconds(duration);
    wall_ += absl::ToInt64Nanoseconds(duration);
  }
  void SetWall(absl::Time wall) { wall_ = absl::ToUnixNanos(wall); }

 private:
  std::atomic<int64_t> monotonic_ = 0;  // nanoseconds
  std::atomic<int64_t> wall_;
};

}  // namespace headrace

#endif  // HEADRACE_COMMON_CLOCK_H_
