// Graceful end on SIGTERM and SIGINT. The first signal asks; a second SIGINT ends the process at once.
//
//   ShutdownSignal::Install();              // before any thread is started
//   while (!ShutdownSignal::Requested()) ...
//
// Thread-safe.
#ifndef HEADRACE_COMMON_SHUTDOWN_H_
#define HEADRACE_COMMON_SHUTDOWN_H_

#include <chrono>

namespace headrace {

class ShutdownSignal {
 public:
  // Blocks both signals in the calling thread, and so in those it starts, and handles them on a thread of their own,
  // which also gets those that come to a thread that unblocks them.
  static void Install();
  // The end of the parent, of that process id, asks as a signal does, however often it is told, and ends a process that
  // has not finished in `patience`. After Install.
  static void DieWithParent(int parent, std::chrono::seconds patience);

  // Both are signs of life (common/sign_of_life.h) of the thread that asks, for as long as it waits.
  static bool Requested();
  // False if the deadline passed first.
  static bool WaitUntil(std::chrono::steady_clock::time_point deadline);
};

}  // namespace headrace

#endif  // HEADRACE_COMMON_SHUTDOWN_H_
