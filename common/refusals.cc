#include "common/refusals.h"

#include <array>
#include <chrono>
#include <string_view>

#include "common/log.h"
#include "common/mutex.h"
#include "grpc/support/log.h"

namespace headrace {
namespace {

constexpr std::array<const char*, 5> kReasons = {"handshake", "token", "connection", "silence", "unread"};
// A flood of refusals must not become a flood of lines.
constexpr std::chrono::seconds kLogInterval{1};
constexpr int kLinesPerInterval = 5;

struct State {
  Mutex mutex;
  std::array<prometheus::Counter*, kReasons.size()> counters ABSL_GUARDED_BY(mutex) = {};
  std::chrono::steady_clock::time_point interval_begin ABSL_GUARDED_BY(mutex);
  int lines ABSL_GUARDED_BY(mutex) = 0;
};

// Never destroyed: gRPC's threads outlive main.
State& TheState() {
  static auto* const state = new State;
  return *state;
}

bool MayLog() {
  State& state = TheState();
  MutexLock lock(&state.mutex);
  const auto now = std::chrono::steady_clock::now();
  if (now - state.interval_begin > kLogInterval) {
    state.interval_begin = now;
    state.lines = 0;
  }
  return ++state.lines <= kLinesPerInterval;
}

void LogOfGrpc(gpr_log_func_args* line) {
  const std::string_view text(line->message);
  const bool handshake = text.starts_with("Handshake failed");
  if (handshake) CountRefusal(Refusal::kHandshake);
  if ((handshake || line->severity == GPR_LOG_SEVERITY_ERROR) && MayLog()) LogWarning("gRPC: %s", line->message);
}

}  // namespace

RefusalCounters::RefusalCounters(MetricRegistry& registry) {
  const CounterFamily family = registry.AddCounterFamily("headrace_grpc_refusals_total",
                                                         "Peers turned away before a service was asked, by what was "
                                                         "wrong: handshake, token, connection (too many), silence "
                                                         "(a stream without a first message), unread (a "
                                                         "client that does not take its answers).",
                                                         {"reason"});
  State& state = TheState();
  MutexLock lock(&state.mutex);
  for (size_t i = 0; i < kReasons.size(); ++i) state.counters[i] = &family.With({kReasons[i]});
}

RefusalCounters::~RefusalCounters() {
  State& state = TheState();
  MutexLock lock(&state.mutex);
  state.counters = {};
}

void CountRefusal(Refusal refusal) {
  State& state = TheState();
  MutexLock lock(&state.mutex);
  if (prometheus::Counter* const counter = state.counters[static_cast<size_t>(refusal)]) counter->Increment();
}

void TakeOverGrpcLog() {
  gpr_set_log_verbosity(GPR_LOG_SEVERITY_INFO);
  gpr_set_log_function(LogOfGrpc);
}

}  // namespace headrace
