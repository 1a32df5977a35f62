// The time of day as something that is passed in, so that what writes it down can be tested.
//
//   RunDirectory::Open(path, config, command_line, *RealClock());
//   FakeClock clock;  // in tests
//   clock.Advance(std::chrono::hours(1));
//
// Thread-safe.
#ifndef HEADRACE_COMMON_CLOCK_H_
#define HEADRACE_COMMON_CLOCK_H_

#include <atomic>
#include <chrono>
#include <cstdint>

namespace headrace {

class Clock {
 public:
  virtual ~Clock() = default;

  // It may jump: for people and files, not for durations and deadlines.
  virtual std::chrono::system_clock::time_point WallNow() const = 0;
};

// The system's. Lives forever.
inline const Clock* RealClock() {
  class SystemClock : public Clock {
   public:
    std::chrono::system_clock::time_point WallNow() const override { return std::chrono::system_clock::now(); }
  };
  static const SystemClock clock;
  return &clock;
}

// Stands still until it is told to go on.
class FakeClock : public Clock {
 public:
  std::chrono::system_clock::time_point WallNow() const override {
    return std::chrono::system_clock::time_point(std::chrono::nanoseconds(wall_.load()));
  }

  void Advance(std::chrono::nanoseconds duration) { wall_ += duration.count(); }
  void SetWall(std::chrono::system_clock::time_point wall) {
    wall_ = std::chrono::nanoseconds(wall.time_since_epoch()).count();
  }

 private:
  std::atomic<int64_t> wall_ = 1'700'000'000'000'000'000;  // nanoseconds since the epoch
};

}  // namespace headrace

#endif  // HEADRACE_COMMON_CLOCK_H_
