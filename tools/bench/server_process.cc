#include "tools/bench/server_process.h"

#include <sched.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/check.h"

extern char** environ;

namespace headrace {

ServerProcess::ServerProcess(const std::string& role, std::vector<std::string> flags) {
  std::array<int, 2> pipe;
  HEADRACE_CHECK(::pipe(pipe.data()) == 0);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, pipe[1], STDOUT_FILENO);
  std::string program = "/proc/self/exe";
  flags.insert(flags.begin(), {program, absl::StrCat("--serve=", role)});
  std::vector<char*> arguments;
  for (std::string& flag : flags) arguments.push_back(flag.data());
  arguments.push_back(nullptr);
  HEADRACE_CHECK(::posix_spawn(&process_, program.c_str(), &actions, nullptr, arguments.data(), environ) == 0);
  posix_spawn_file_actions_destroy(&actions);
  ::close(pipe[1]);
  for (char c = 0; ::read(pipe[0], &c, 1) == 1 && c != '\n';) address_ += c;
  ::close(pipe[0]);
}

ServerProcess::~ServerProcess() {
  ::kill(process_, SIGKILL);
  ::waitpid(process_, nullptr, 0);
}

double ServerProcess::CpuSeconds() const {
  clockid_t clock;
  timespec time;
  HEADRACE_CHECK(::clock_getcpuclockid(process_, &clock) == 0 && ::clock_gettime(clock, &time) == 0);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

uint64_t ServerProcess::ResidentBytes() const {
  uint64_t size = 0, resident = 0;
  std::ifstream pages(absl::StrCat("/proc/", process_, "/statm"));
  HEADRACE_CHECK(static_cast<bool>(pages >> size >> resident));
  return resident * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

void ServeForParent(const std::string& address) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  std::puts(address.c_str());
  std::fflush(stdout);
  while (true) ::pause();
}

void PinTo(int core) {
  if (std::thread::hardware_concurrency() < 2) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  HEADRACE_CHECK(::sched_setaffinity(0, sizeof(set), &set) == 0);
}

}  // namespace headrace
