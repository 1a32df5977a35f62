// The machine that this runs on, and how much of it there is for this process.
//
// Thread-safe.
#ifndef HEADRACE_COMMON_MACHINE_H_
#define HEADRACE_COMMON_MACHINE_H_

#include <cstdint>
#include <string>

namespace headrace {

struct Machine {
  std::string hostname;
  std::string cpu;  // model name; empty where the kernel tells none
  uint32_t cores;   // that this process may use
  uint64_t memory_bytes;
};

// At least 1: the cores that the process may run on, and no more than its control group gives it time for.
uint32_t UsableCores();

Machine ThisMachine();

}  // namespace headrace

#endif  // HEADRACE_COMMON_MACHINE_H_
