// What the three processes have in common: flags, ports, the ready file, exit codes.
//
//   int main(int argc, char** argv) {
//     return RunProcess(argc, argv, "replay: one shard of the replay service", [](const ProcessFlags& flags) { ... });
//   }
#ifndef HEADRACE_COMMON_PROCESS_H_
#define HEADRACE_COMMON_PROCESS_H_

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/grpc_server.h"
#include "common/metrics.h"
#include "common/metrics_server.h"
#include "common/refusals.h"
#include "common/watchdog.h"
#include "proto/config.pb.h"

namespace headrace {

enum ExitCode { kExitDone = 0, kExitFailed = 1, kExitUsage = 2, kExitInterrupted = 130 };

// As long as a launcher waits for those of one that was killed, less what the end itself takes.
inline constexpr std::chrono::seconds kCheckpointingOrphanPatience{170};

struct ProcessFlags {
  v1::RunConfig config;
  std::vector<std::string> command_line;
  std::string metrics_listen;
  std::string health_listen;
  std::string ready_file;
  bool stay = false;
};

// Parses --config, --set, the flags above and those of security (each with a help text), installs signal handling and
// LibTorch-free defaults, runs `body` with them, and turns what it returns into an exit code: a status that is not OK
// is logged (ConfigSources::Locate puts a place in front); INVALID_ARGUMENT and FAILED_PRECONDITION are the user's to
// mend (2), CANCELLED is an interruption (130), anything else is a failure (1). A process that hangs ends so long after
// a parent of which it was told (--die_with_parent) as `orphan_patience` says.
int RunProcess(int argc, char** argv, const std::string& usage,
               const std::function<absl::Status(const ProcessFlags&)>& body,
               std::chrono::seconds orphan_patience = kCheckpointingOrphanPatience);

// After an end that is no failure, with --stay: waits until the process is told to end, so that what keeps it running
// does not start it again. Returns `status`.
absl::Status Stay(const ProcessFlags& flags, const absl::Status& status);

// What `flag` asked for; who cannot have it learns by which flag to ask for something else.
template <typename Server>
absl::StatusOr<Server> OfFlag(const char* flag, absl::StatusOr<Server> server) {
  if (server.ok()) return server;
  return absl::Status(server.status().code(), absl::StrCat(flag, ": ", server.status().message()));
}

// The ports of a process that everybody has: metrics, and health for probes.
class ProcessPorts {
 public:
  static absl::StatusOr<std::unique_ptr<ProcessPorts>> Open(const ProcessFlags& flags, MetricRegistry& registry);

  // Reports SERVING, watches the calling thread from now on (common/watchdog.h), and writes the ready file: {"grpc":
  // "HOST:PORT", "metrics": ..., "health": ...}; an empty `grpc_address` is left out.
  absl::Status Ready(const ProcessFlags& flags, const std::string& grpc_address);

 private:
  std::unique_ptr<RefusalCounters> refusals_;
  std::unique_ptr<MetricsServer> metrics_;
  std::unique_ptr<HealthServer> health_;
  std::unique_ptr<Watchdog> watchdog_;
};

}  // namespace headrace

#endif  // HEADRACE_COMMON_PROCESS_H_
