#include "common/shutdown.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <utility>

#include "common/log.h"
#include "common/mutex.h"
#include "common/sign_of_life.h"

namespace headrace {
namespace {

// A signal of its own, because it may come several times: the threads of a parent that is killed die one after the
// other, and each hands its children on to the next.
constexpr int kParentDied = SIGUSR1;
constexpr int kHandled[] = {SIGTERM, SIGINT, kParentDied};
constexpr std::chrono::milliseconds kSignInterval{500};

struct State {
  Mutex mutex;
  ConditionVariable condition;
  bool requested ABSL_GUARDED_BY(mutex) = false;
  std::atomic<std::chrono::seconds> orphan_patience{};
};

State& GetState() {
  static State* const state = new State;  // never destroyed: the signal thread may outlive main
  return *state;
}

sigset_t HandledSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : kHandled) sigaddset(&set, signal);
  return set;
}

void Request() {
  State& state = GetState();
  MutexLock lock(&state.mutex);
  state.requested = true;
  state.condition.NotifyAll();
}

// Nobody is left who would.
void EndByItself() {
  const std::chrono::seconds patience = GetState().orphan_patience;
  std::this_thread::sleep_for(patience);
  LogError("did not finish within %d s of the end of the parent process: ending at once", patience.count());
  _exit(1);
}

void HandleSignals() {
  const sigset_t set = HandledSignals();
  bool requested = false, orphaned = false;
  // SIGTERM often comes twice, to a process and to its group: only who is impatient interrupts twice.
  for (int interrupts = 0; interrupts < 2;) {
    int signal = 0;
    sigwait(&set, &signal);
    if (signal == SIGINT) ++interrupts;
    if (signal == kParentDied && !std::exchange(orphaned, true)) std::thread(EndByItself).detach();
    if (std::exchange(requested, true)) continue;
    LogInfo("%s: finishing", signal == SIGINT        ? "interrupted"
                             : signal == kParentDied ? "the parent process has ended"
                                                     : "terminated");
    Request();
  }
  LogWarning("interrupted again: ending at once");
  _exit(130);
}

pthread_t signal_thread;

// Runs in a thread that has the signals unblocked, as those of CUDA's driver have, whoever starts them.
void HandOn(int signal) { pthread_kill(signal_thread, signal); }

}  // namespace

void ShutdownSignal::Install() {
  const sigset_t set = HandledSignals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  GetState();
  std::thread thread(HandleSignals);
  signal_thread = thread.native_handle();
  thread.detach();
  struct sigaction action = {};
  action.sa_handler = HandOn;
  action.sa_flags = SA_RESTART;
  for (const int signal : kHandled) sigaction(signal, &action, nullptr);
}

void ShutdownSignal::DieWithParent(int parent, std::chrono::seconds patience) {
  GetState().orphan_patience = patience;
  prctl(PR_SET_PDEATHSIG, kParentDied);
  // The parent may have died before the call.
  if (getppid() != parent) kill(getpid(), kParentDied);
}

bool ShutdownSignal::Requested() {
  SignOfLife::Give();
  State& state = GetState();
  MutexLock lock(&state.mutex);
  return state.requested;
}

bool ShutdownSignal::WaitUntil(std::chrono::steady_clock::time_point deadline) {
  State& state = GetState();
  MutexLock lock(&state.mutex);
  while (!state.requested) {
    SignOfLife::Give();
    const auto now = std::chrono::steady_clock::now();
    if (now >= deadline) break;
    (void)state.condition.WaitUntil(&state.mutex, std::min(deadline, now + kSignInterval));
  }
  return state.requested;
}

}  // namespace headrace
