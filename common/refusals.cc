#include "common/refusals.h"

#include <array>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "common/log.h"
#include "common/mutex.h"
#include "grpc/grpc.h"
#include "grpc/support/log.h"
#include "grpcpp/version_info.h"

namespace headrace {
namespace {

constexpr std::array<const char*, 6> kReasons = {"handshake", "token", "connection", "silence", "unread", "size"};
constexpr std::array<const char*, kReasons.size()> kWhys = {
    "it speaks another protocol, or has no certificate that is accepted",
    "it has no accepted token",
    "there are too many connections",
    "it has said nothing in time",
    "it does not take what is sent to it",
    "a message or its headers are too large",
};
// A flood of refusals must not become a flood of lines.
constexpr std::chrono::seconds kLogInterval{1};
constexpr int kLinesPerInterval = 5;

struct State {
  Mutex mutex;
  std::array<prometheus::Counter*, kReasons.size()> counters ABSL_GUARDED_BY(mutex) = {};
  std::chrono::steady_clock::time_point interval_begin ABSL_GUARDED_BY(mutex);
  int lines ABSL_GUARDED_BY(mutex) = 0;
  int64_t calls_without_token ABSL_GUARDED_BY(mutex) = 0;
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

static_assert(
    GRPC_CPP_VERSION_MAJOR == 1 && GRPC_CPP_VERSION_MINOR == 51,
    "what RefusalIn looks for are words of gRPC 1.51: look for them in the sources of this version, and change it "
    "here when //common:security_test and server_limits_test pass");

// Whom gRPC turns away itself, it tells nobody but its log. How a call has ended stands there in two lines, of which
// the first says on which side.
std::optional<Refusal> RefusalIn(std::string_view text) {
  thread_local bool of_server_call = false;
  const bool end_of_server_call = std::exchange(of_server_call, text == "set_final_status SVR");
  if (text.starts_with("Handshaking failed")) return Refusal::kHandshake;
  if (text.starts_with("received initial metadata size exceeds limit")) return Refusal::kSize;
  if (!end_of_server_call) return std::nullopt;
  const bool size =
      text.find("Received message larger than max") != text.npos || text.find("Buffers full") != text.npos;
  return size ? std::optional(Refusal::kSize) : std::nullopt;
}

// "cause {file:..., children:[...{target_address:"ipv4:..."}]}": the cause and who it was, without places in gRPC's
// sources.
std::string Shortened(std::string_view text) {
  constexpr std::string_view kPeer = "target_address:\"";
  std::string shortened(text.substr(0, text.find(" {")));
  if (const size_t peer = text.find(kPeer); peer != text.npos) {
    const std::string_view from = text.substr(peer + kPeer.size());
    shortened.append(" (").append(from.substr(0, from.find('"'))).append(")");
  }
  return shortened;
}

void LogOfGrpc(gpr_log_func_args* line) {
  const std::optional<Refusal> refusal = RefusalIn(line->message);
  if (refusal) CountRefusal(*refusal);
  if ((!refusal && line->severity != GPR_LOG_SEVERITY_ERROR) || !MayLog()) return;
  std::string text = Shortened(line->message);
  // Its own words for it may be far behind, among places.
  if (refusal == Refusal::kSize && text.find("size") == text.npos)
    text.append(": ").append(kWhys[static_cast<size_t>(Refusal::kSize)]);
  LogWarning("gRPC: %s", text);
}

}  // namespace

RefusalCounters::RefusalCounters(MetricRegistry& registry) {
  const CounterFamily family = registry.AddCounterFamily(
      "headrace_grpc_refusals_total",
      "Peers turned away, at the ports of metrics and health as well, by what was wrong: handshake (no accepted "
      "certificate, or another protocol), token, connection (too many), silence (a connection or a stream that says "
      "nothing in time), unread (a stream whose client does not take its answers), size (a message or headers that are "
      "too large).",
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

void CountRefusal(Refusal refusal, absl::string_view peer) {
  const auto reason = static_cast<size_t>(refusal);
  {
    State& state = TheState();
    MutexLock lock(&state.mutex);
    if (prometheus::Counter* const counter = state.counters[reason]) counter->Increment();
    if (refusal == Refusal::kToken) ++state.calls_without_token;
  }
  if (!peer.empty() && MayLog()) LogWarning("%s is turned away: %s", peer, kWhys[reason]);
}

int64_t CallsWithoutToken() {
  State& state = TheState();
  MutexLock lock(&state.mutex);
  return state.calls_without_token;
}

void TakeOverGrpcLog() {
  // Lines of this level come once for a connection or a call, at most.
  gpr_set_log_verbosity(GPR_LOG_SEVERITY_DEBUG);
  grpc_tracer_set_enabled("call_error", 1);
  gpr_set_log_function(LogOfGrpc);
}

}  // namespace headrace
