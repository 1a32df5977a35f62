// The server that a benchmark measures: this program, started again with --serve=ROLE, in a process of its own.
//
//   const ServerProcess shard("shard", {"--certificates=DIR"});
//   ... use shard.address(); look at shard.CpuSeconds() before and after ...
//
// Not thread-safe.
#ifndef HEADRACE_TOOLS_BENCH_SERVER_PROCESS_H_
#define HEADRACE_TOOLS_BENCH_SERVER_PROCESS_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace headrace {

class ServerProcess {
 public:
  // Returns once it serves.
  explicit ServerProcess(const std::string& role, std::vector<std::string> flags = {});
  ~ServerProcess();
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  const std::string& address() const { return address_; }
  // Processor time of all its threads so far.
  double CpuSeconds() const;
  // Its memory that is not swapped out.
  uint64_t ResidentBytes() const;

 private:
  pid_t process_ = 0;
  std::string address_;
};

// In that process: tells the other one where it serves, and returns never. It ends with the other one.
[[noreturn]] void ServeForParent(const std::string& address);

// Keeps this thread, and those it starts, on one core, where there are two.
void PinTo(int core);

}  // namespace headrace

#endif  // HEADRACE_TOOLS_BENCH_SERVER_PROCESS_H_
