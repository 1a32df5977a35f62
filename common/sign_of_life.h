// What shows that a process goes on: its main thread says so in every loop and every wait, and the watchdog
// (common/watchdog.h) listens. ShutdownSignal's questions say it by themselves; what takes long between two of them
// says it here.
#ifndef HEADRACE_COMMON_SIGN_OF_LIFE_H_
#define HEADRACE_COMMON_SIGN_OF_LIFE_H_

#include <atomic>
#include <cstdint>

namespace headrace {

class SignOfLife {
 public:
  // From now on those of the calling thread count, and no other's.
  static void ListenToThisThread() { is_heard_ = true; }
  // A nanosecond.
  static void Give() {
    if (is_heard_) count_.store(count_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  // How many there have been. Thread-safe.
  static uint64_t Count() { return count_.load(std::memory_order_relaxed); }

 private:
  static inline thread_local bool is_heard_ = false;
  static inline std::atomic<uint64_t> count_ = 0;
};

}  // namespace headrace

#endif  // HEADRACE_COMMON_SIGN_OF_LIFE_H_
