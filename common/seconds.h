// Durations as people and metrics have them.
#ifndef HEADRACE_COMMON_SECONDS_H_
#define HEADRACE_COMMON_SECONDS_H_

#include <chrono>

namespace headrace {

inline double Seconds(std::chrono::nanoseconds duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace headrace

#endif  // HEADRACE_COMMON_SECONDS_H_
