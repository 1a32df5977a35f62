// Time as something that is passed in, so that what waits and measures is tested without waiting.
//
//   Batcher batcher(options, RealClock());
//   FakeClock clock;  // in tests
//   clock.Advance(std::chrono::milliseconds(5));
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

  // Never goes back: for durations and deadlines.
  virtual std::chrono::steady_clock::time_point Now() const = 0;
  // The time of day, which may jump: for people and files.
  virtual std::chrono::system_clock::time_point WallNow() const = 0;
};

// The system's. Lives forever.
inline const Clock* RealClock() {
  class SystemClock : public Clock {
   public:
    std::chrono::steady_clock::time_point Now() const override { return std::chrono::steady_clock::now(); }
    std::chrono::system_clock::time_point WallNow() const override { return std::chrono::system_clock::now(); }
  };
  static const SystemClock clock;
  return &clock;
}

// Stands still until it is told to go on. Both times advance together; the time of day may be set apart.
class FakeClock : public Clock {
 public:
  std::chrono::steady_clock::time_point Now() const override {
    return std::chrono::steady_clock::time_point(std::chrono::nanoseconds(now_.load()));
  }
  std::chrono::system_clock::time_point WallNow() const override {
    return std::chrono::system_clock::time_point(std::chrono::nanoseconds(wall_.load()));
  }

  void Advance(std::chrono::nanoseconds duration) {
    now_ += duration.count();
    wall_ += duration.count();
  }
  void SetWall(std::chrono::system_clock::time_point wall) {
    wall_ = std::chrono::nanoseconds(wall.time_since_epoch()).count();
  }

 private:
  // Nanoseconds since each clock's epoch.
  std::atomic<int64_t> now_ = 1'000'000'000;
  std::atomic<int64_t> wall_ = 1'700'000'000'000'000'000;
};

}  // namespace headrace

#endif  // HEADRACE_COMMON_CLOCK_H_
