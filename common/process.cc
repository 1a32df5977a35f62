#include "common/process.h"

#include <csignal>
#include <exception>
#include <iostream>

#include "absl/debugging/failure_signal_handler.h"
#include "absl/debugging/symbolize.h"
#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "common/certificate_metrics.h"
#include "common/certificates.h"
#include "common/command_line.h"
#include "common/config.h"
#include "common/config_sources.h"
#include "common/connection_gate.h"
#include "common/file.h"
#include "common/log.h"
#include "common/security.h"
#include "common/shutdown.h"
#include "common/status_macros.h"
#include "nlohmann/json.hpp"

ABSL_FLAG(std::string, config, "", "the run's configuration, a text-format RunConfig (proto/config.proto)");
ABSL_FLAG(std::string, set, "", "a field to override, path.to.field=value; may be given several times");
ABSL_FLAG(std::string, metrics_listen, "127.0.0.1:0", "HOST:PORT of the Prometheus metrics; port 0 takes a free one");
ABSL_FLAG(std::string, health_listen, "127.0.0.1:0", "HOST:PORT of the gRPC health service, for probes");
ABSL_FLAG(std::string, certificates, "",
          "directory with ca.crt, tls.crt and tls.key, read again when they change: every gRPC connection, but for "
          "health, is then encrypted and both sides show a certificate");
ABSL_FLAG(std::string, token_file, "",
          "file with the token that every call shows and asks for; belongs to --certificates; further lines are tokens "
          "that are accepted as well");
ABSL_FLAG(bool, insecure, false,
          "listen where others than this machine can reach it, without certificates and token: everybody who does may "
          "read and change everything");
ABSL_FLAG(std::string, ready_file, "", "a file that is written, with the ports, once the process serves");
ABSL_FLAG(bool, stay, false,
          "when the run has ended, stay until told to end: for what would start the process again, as Kubernetes does");
ABSL_FLAG(int32_t, die_with_parent, 0, "process id of the parent: terminate when it ends; 0: go on without it");
ABSL_FLAG(std::string, log_name, "", "name of this process in its log; default: the program's name");

namespace headrace {
namespace {

ExitCode ToExitCode(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitDone;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
      return kExitUsage;
    case absl::StatusCode::kCancelled:
      return kExitInterrupted;
    default:
      return kExitFailed;
  }
}

absl::StatusOr<ProcessFlags> ReadFlags(const std::vector<std::string>& command_line,
                                       const std::vector<std::string>& overrides, ConfigSources* sources) {
  ProcessFlags flags;
  const std::string path = absl::GetFlag(FLAGS_config);
  if (path.empty()) return absl::InvalidArgumentError("expected --config=FILE, got none; --help explains the flags");
  absl::StatusOr<v1::RunConfig> config = LoadRunConfig(path, overrides, sources);
  if (!config.ok()) return absl::InvalidArgumentError(config.status().message());
  flags.config = *std::move(config);
  flags.command_line = command_line;
  flags.metrics_listen = absl::GetFlag(FLAGS_metrics_listen);
  flags.health_listen = absl::GetFlag(FLAGS_health_listen);
  flags.ready_file = absl::GetFlag(FLAGS_ready_file);
  flags.stay = absl::GetFlag(FLAGS_stay);
  ASSIGN_OR_RETURN(std::shared_ptr<const Security> security,
                   Security::Create({.certificates = absl::GetFlag(FLAGS_certificates),
                                     .token_file = absl::GetFlag(FLAGS_token_file),
                                     .insecure = absl::GetFlag(FLAGS_insecure)}));
  if (security->encrypts()) {
    RETURN_IF_ERROR(CheckCertificates(security->certificates(), std::chrono::system_clock::now()));
  }
  SetProcessSecurity(std::move(security));
  return flags;
}

}  // namespace

int RunProcess(int argc, char** argv, const std::string& usage,
               const std::function<absl::Status(const ProcessFlags&)>& body, std::chrono::seconds orphan_patience) {
  absl::InitializeSymbolizer(argv[0]);
  absl::InstallFailureSignalHandler(absl::FailureSignalHandlerOptions());
  const absl::StatusOr<CommandLine> line = ReadCommandLine({argv + 1, argv + argc});
  if (line.ok() && line->help) {
    std::cout << HelpText(usage);
    return kExitDone;
  }
  const std::string program(argv[0]);
  const std::string name = absl::GetFlag(FLAGS_log_name);
  InitLog(name.empty() ? program.substr(program.rfind('/') + 1) : name);
  TakeOverGrpcLog();
  RaiseOpenFileLimit();
  ::signal(SIGXFSZ, SIG_IGN);  // a file that may not grow is an error of whoever writes it
  TuneAllocatorForStreaming();
  ShutdownSignal::Install();
  if (const int32_t parent = absl::GetFlag(FLAGS_die_with_parent); parent != 0) {
    ShutdownSignal::DieWithParent(parent, orphan_patience);
  }

  absl::Status status;
  ConfigSources sources;
  if (!line.ok()) {
    status = line.status();
  } else if (absl::StatusOr<ProcessFlags> flags = ReadFlags({argv, argv + argc}, line->overrides, &sources);
             !flags.ok()) {
    status = flags.status();
  } else {
    try {
      status = sources.Locate(body(*flags));
    } catch (const std::exception& e) {
      // Libraries throw; what reaches this place is a failure nobody expected.
      status = absl::InternalError(e.what());
    }
  }
  const ExitCode code = ToExitCode(status);
  if (code == kExitUsage) {
    LogError("%s", std::string(status.message()));  // a sentence, to which the name of a status would add nothing
  } else if (!status.ok() && !absl::IsCancelled(status)) {
    LogError("%s", status.ToString(absl::StatusToStringMode::kWithNoExtraData));
  }
  return code;
}

absl::Status Stay(const ProcessFlags& flags, const absl::Status& status) {
  constexpr std::chrono::hours kAnyTime{1};
  if (!flags.stay || !status.ok()) return status;
  LogInfo("the run has ended; staying until told to end");
  while (!ShutdownSignal::WaitUntil(std::chrono::steady_clock::now() + kAnyTime)) {
  }
  return status;
}

absl::StatusOr<std::unique_ptr<ProcessPorts>> ProcessPorts::Open(const ProcessFlags& flags, MetricRegistry& registry) {
  auto ports = std::make_unique<ProcessPorts>();
  ports->refusals_ = std::make_unique<RefusalCounters>(registry);
  ExportCertificateExpiry(ProcessSecurity()->certificates(), registry);
  ASSIGN_OR_RETURN(ports->metrics_, OfFlag("--metrics_listen", MetricsServer::Start(flags.metrics_listen, registry)));
  ASSIGN_OR_RETURN(ports->health_, OfFlag("--health_listen", HealthServer::Start(flags.health_listen)));
  return ports;
}

absl::Status ProcessPorts::Ready(const ProcessFlags& flags, const std::string& grpc_address) {
  health_->SetServing(true);
  if (const uint32_t patience = flags.config.hang_seconds(); patience > 0) {
    watchdog_ = std::make_unique<Watchdog>(std::chrono::seconds(patience));
  }
  LogInfo("ready: %smetrics on http://%s/metrics, health on %s",
          grpc_address.empty() ? "" : absl::StrCat("serving on ", grpc_address, ", "), metrics_->address(),
          health_->address());
  if (flags.ready_file.empty()) return absl::OkStatus();
  nlohmann::json addresses = {{"metrics", metrics_->address()}, {"health", health_->address()}};
  if (!grpc_address.empty()) addresses["grpc"] = grpc_address;
  return WriteFileAtomically(flags.ready_file, addresses.dump() + "\n");
}

}  // namespace headrace
