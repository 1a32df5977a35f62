#include "common/log.h"

#include <atomic>
#include <memory>

#include "spdlog/sinks/stdout_sinks.h"
#include "spdlog/spdlog.h"

namespace headrace {
namespace {

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

spdlog::logger* NewLogger(const std::string& process) {
  auto* const logger = new spdlog::logger(process, std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %L %n] %v");
  logger->flush_on(spdlog::level::info);
  return logger;
}

// Never destroyed: other threads may log while the process exits.
std::atomic<spdlog::logger*>& TheLogger() {
  static auto* const logger = new std::atomic<spdlog::logger*>(NewLogger("headrace"));
  return *logger;
}

}  // namespace

void InitLog(const std::string& process) { TheLogger() = NewLogger(process); }

void Log(LogLevel level, std::string_view text) {
  TheLogger().load()->log(ToSpdlog(level), spdlog::string_view_t(text.data(), text.size()));
}

}  // namespace headrace
