#include "common/watchdog.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "common/log.h"
#include "common/shutdown.h"
#include "common/sign_of_life.h"

namespace headrace {
namespace {

// Looks are counted, not the clock asked: it goes on while a process is stopped.
constexpr std::chrono::seconds kInterval{1};
constexpr std::chrono::seconds kStackPatience{5};

}  // namespace

Watchdog::Watchdog(std::chrono::seconds patience) : patience_(patience), watched_(pthread_self()) {
  SignOfLife::ListenToThisThread();
  thread_ = std::thread([this] { Watch(); });
}

Watchdog::~Watchdog() {
  {
    MutexLock lock(&mutex_);
    ended_ = true;
  }
  ends_.NotifyAll();
  thread_.join();
}

void Watchdog::Watch() {
  uint64_t seen = SignOfLife::Count();
  std::chrono::seconds silence{0};
  MutexLock lock(&mutex_);
  while (!ended_ && !ShutdownSignal::Requested()) {
    ends_.WaitUntil(&mutex_, std::chrono::steady_clock::now() + kInterval);
    const uint64_t given = SignOfLife::Count();
    silence = given == seen ? silence + kInterval : std::chrono::seconds(0);
    seen = given;
    if (silence < patience_) continue;
    LogError(
        "no sign of life for %d s (hang_seconds): ending, so that this process can be started again; this is "
        "where it hangs:",
        patience_.count());
    pthread_kill(watched_, SIGABRT);
    // The first process of a container cannot be killed by its own signal.
    std::this_thread::sleep_for(kStackPatience);
    _exit(1);
  }
}

}  // namespace headrace
