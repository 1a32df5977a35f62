// Ends a process that hangs, so that whoever started it can start it again: a simulator that does not come back from a
// step would otherwise stand still for ever, and with it, in synchronous rounds, the whole run.
//
//   const Watchdog watchdog(std::chrono::seconds(300));  // listens to the calling thread's signs of life
//
// Once the process is told to end it is watched no more: whoever told it knows how long that may take, and if that was
// the end of its parent, ShutdownSignal does.
#ifndef HEADRACE_COMMON_WATCHDOG_H_
#define HEADRACE_COMMON_WATCHDOG_H_

#include <chrono>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"

namespace headrace {

class Watchdog {
 public:
  // After `patience` without a sign of life the process ends, by SIGABRT on the thread that made this object, whose
  // stack is then printed. Time in which the whole process was stopped does not count.
  explicit Watchdog(std::chrono::seconds patience);
  ~Watchdog();

 private:
  void Watch() ABSL_LOCKS_EXCLUDED(mutex_);

  const std::chrono::seconds patience_;
  const std::thread::native_handle_type watched_;
  Mutex mutex_;
  ConditionVariable ends_;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace headrace

#endif  // HEADRACE_COMMON_WATCHDOG_H_
