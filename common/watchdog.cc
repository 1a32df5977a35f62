#include "common/watchdog.h"

#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cstdio>

#include "absl/debugging/symbolize.h"
#include "common/log.h"
#include "common/shutdown.h"
#include "common/sign_of_life.h"

namespace headrace {
namespace {

// Looks are counted, not the clock asked: it goes on while a process is stopped.
constexpr std::chrono::seconds kInterval{1};
constexpr std::chrono::seconds kStackPatience{5};
constexpr int kShowStack = SIGUSR2;
constexpr int kMostFrames = 64;

// On the thread that hangs. Abseil's own handler finds its way by frame pointers, which the C library, where most
// threads hang, does not have.
void ShowStackAndAbort(int) {
  std::array<void*, kMostFrames> frames;
  const int count = ::backtrace(frames.data(), kMostFrames);
  for (int i = 0; i < count; ++i) {
    char name[512] = "(unknown)";
    // What is on the stack is where a call returns to.
    (void)absl::Symbolize(static_cast<char*>(frames[i]) - 1, name, sizeof(name));
    char line[600];
    const int size = std::snprintf(line, sizeof(line), "    @ %18p  %s\n", frames[i], name);
    (void)!::write(STDERR_FILENO, line, static_cast<size_t>(size));
  }
  ::signal(SIGABRT, SIG_DFL);
  ::raise(SIGABRT);
}

}  // namespace

Watchdog::Watchdog(std::chrono::seconds patience) : patience_(patience), watched_(pthread_self()) {
  std::array<void*, 1> frame;
  (void)::backtrace(frame.data(), 1);  // the first call takes memory, which a signal's handler must not
  ::signal(kShowStack, ShowStackAndAbort);
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
    LogError("no sign of life for %d s (hang_seconds): ending, so that this process can be started again; it hangs at:",
             patience_.count());
    pthread_kill(watched_, kShowStack);
    // The first process of a container cannot be killed by its own signal.
    std::this_thread::sleep_for(kStackPatience);
    _exit(1);
  }
}

}  // namespace headrace
