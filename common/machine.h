// What a result was measured on.
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

Machine ThisMachine();

}  // namespace headrace

#endif  // HEADRACE_COMMON_MACHINE_H_
