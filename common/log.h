// Logging to standard error, one line an event: time, level, process name, text. spdlog does the work; its headers stay
// in log.cc because LibTorch carries another version of the formatting library.
//
//   InitLog("actor-3");
//   LogInfo("leased index %d", index);
//
// Thread-safe.
#ifndef HEADRACE_COMMON_LOG_H_
#define HEADRACE_COMMON_LOG_H_

#include <string>
#include <string_view>

#include "absl/strings/str_format.h"

namespace headrace {

enum class LogLevel { kInfo, kWarning, kError };

void InitLog(const std::string& process);
void Log(LogLevel level, std::string_view text);

template <typename... Args>
void LogInfo(const absl::FormatSpec<Args...>& format, const Args&... args) {
  Log(LogLevel::kInfo, absl::StrFormat(format, args...));
}
template <typename... Args>
void LogWarning(const absl::FormatSpec<Args...>& format, const Args&... args) {
  Log(LogLevel::kWarning, absl::StrFormat(format, args...));
}
template <typename... Args>
void LogError(const absl::FormatSpec<Args...>& format, const Args&... args) {
  Log(LogLevel::kError, absl::StrFormat(format, args...));
}

}  // namespace headrace

#endif  // HEADRACE_COMMON_LOG_H_
