// The learner process: updates, weight broadcast, the run service, checkpoints.
#include "absl/flags/flag.h"
#include "absl/strings/str_format.h"
#include "algorithm/registry.h"
#include "common/checkpoint.h"
#include "common/file.h"
#include "common/log.h"
#include "common/process.h"
#include "common/rpc_metrics.h"
#include "common/run_directory.h"
#include "common/shard_addresses.h"
#include "common/shards.h"
#include "common/status_macros.h"
#include "learner/divergence.h"
#include "learner/gradient_service.h"
#include "learner/inference_service.h"
#include "learner/learner.h"
#include "learner/learner_metrics.h"
#include "learner/parameter_service.h"
#include "learner/restore.h"
#include "learner/run_service.h"
#include "model/device.h"

ABSL_FLAG(std::string, listen, "127.0.0.1:0", "HOST:PORT of the gRPC service; port 0 takes a free one");
ABSL_FLAG(std::string, run_dir, "", "the run's directory: created, or continued");
ABSL_FLAG(
    std::vector<std::string>, replay, {},
    "HOST:PORT of every replay shard, separated by commas, in order; or one for all, with {} for the shard's number");
ABSL_FLAG(std::string, typed, "",
          "what somebody typed to start this run, for metadata.json; default: this command line");
ABSL_FLAG(std::string, init_from, "", "directory of a run or of a checkpoint whose networks a new run starts with");

namespace headrace {
namespace {

absl::StatusOr<LearnerOptions> PrepareOptions(const ProcessFlags& flags, const RunDirectory& run) {
  LearnerOptions options;
  options.config = flags.config;
  ASSIGN_OR_RETURN(options.replay_addresses, ShardAddresses(absl::GetFlag(FLAGS_replay), ShardsOf(flags.config)));
  RETURN_IF_ERROR(MakeDirectories(run.checkpoints()));
  ASSIGN_OR_RETURN(options.resume_from, LoadNewestCheckpoint(run.checkpoints()));
  const std::string init_from = absl::GetFlag(FLAGS_init_from);
  if (!init_from.empty() && options.resume_from.has_value()) {
    LogWarning("--init_from: the run goes on from its own checkpoint, and takes no networks of %s", init_from);
  } else if (!init_from.empty()) {
    ASSIGN_OR_RETURN(options.init_from, LoadNetworks(init_from));
    RETURN_IF_ERROR(run.NoteInitialisation(init_from));
  }
  ASSIGN_OR_RETURN(options.identity, NextIdentity(run.checkpoints(), options.resume_from));
  return options;
}

// The first member's environment becomes the run's: one that strayed here from another run must not choose it.
absl::Status CheckEnvironment(const v1::RunConfig& config, const v1::EnvironmentSpec& environment) {
  if (environment.name() != config.environment().name()) {
    return absl::FailedPreconditionError(absl::StrFormat("expected the environment \"%s\", got \"%s\"",
                                                         config.environment().name(), environment.name()));
  }
  return CheckFits(config, environment);
}

absl::Status RunLearner(const ProcessFlags& flags) {
  RETURN_IF_ERROR(FactsOf(flags.config).status());
  RETURN_IF_ERROR(ParseDevice(flags.config.device()).status());
  const std::string run_path = absl::GetFlag(FLAGS_run_dir);
  if (run_path.empty()) return absl::InvalidArgumentError("expected --run_dir=DIR, got none");
  const std::string typed = absl::GetFlag(FLAGS_typed);
  ASSIGN_OR_RETURN(
      const std::unique_ptr<RunDirectory> run,
      RunDirectory::Open(run_path, flags.config, typed.empty() ? flags.command_line : std::vector<std::string>{typed},
                         *RealClock()));
  ASSIGN_OR_RETURN(LearnerOptions options, PrepareOptions(flags, *run));
  LogInfo("run %s, start %d", options.identity.run_id(), options.identity.incarnation());

  MetricRegistry registry("learner");
  LearnerMetrics metrics(registry);
  const RpcMetrics rpcs(registry);
  ASSIGN_OR_RETURN(const std::unique_ptr<ProcessPorts> ports, ProcessPorts::Open(flags, registry));
  RunService members(
      options.identity.run_id(), options.identity.incarnation(),
      [&flags](const v1::EnvironmentSpec& environment) { return CheckEnvironment(flags.config, environment); });
  ParameterService parameters(options.identity.run_id());
  std::vector<grpc::Service*> services = {&members, &parameters};
  std::unique_ptr<InferenceService> inference;
  if (flags.config.topology() == v1::CENTRAL_INFERENCE) {
    inference = std::make_unique<InferenceService>(flags.config, options.identity, registry);
    services.push_back(inference.get());
  }
  std::unique_ptr<GradientService> gradients;
  if (flags.config.topology() == v1::ASYNCHRONOUS_GRADIENTS) {
    gradients = std::make_unique<GradientService>(options.identity, registry);
    services.push_back(gradients.get());
  }
  Learner learner(std::move(options), run.get(), &members, &parameters, inference.get(), gradients.get(), &metrics);
  ASSIGN_OR_RETURN(const std::unique_ptr<GrpcServer> server,
                   OfFlag("--listen", GrpcServer::Start(absl::GetFlag(FLAGS_listen), services, &rpcs)));
  RETURN_IF_ERROR(ports->Ready(flags, server->address()));
  if (const std::string end = learner.EndedBefore(); !end.empty()) {
    LogInfo("this run has ended: %s", end);
    members.Stop(end);
  } else {
    const absl::Status status = learner.Run();
    // The metrics of this start are gone before anybody has read of it.
    if (IsDivergence(status)) metrics.CountWrite(CountDivergence(run->checkpoints()));
    RETURN_IF_ERROR(status);
  }
  metrics.run_ended.Set(1);
  return Stay(flags, absl::OkStatus());
}

}  // namespace
}  // namespace headrace

int main(int argc, char** argv) {
  return headrace::RunProcess(argc, argv, "learner: updates, weight broadcast, run service, checkpoints",
                              headrace::RunLearner);
}
