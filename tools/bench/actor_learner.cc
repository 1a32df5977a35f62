// The learner's part in the actor benchmark: leases, a table that takes everything, and one version of random weights.
//
//   actor_learner --config=... --replay=HOST:PORT [--random_policy]
//
// Nothing is learned, so that nothing but the actor and the shard work.
#include <chrono>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "algorithm/algorithm.h"
#include "algorithm/registry.h"
#include "common/grpc_server.h"
#include "common/grpc_status.h"
#include "common/policy_version.h"
#include "common/process.h"
#include "common/protocol.h"
#include "common/shutdown.h"
#include "common/status_macros.h"
#include "grpcpp/client_context.h"
#include "learner/parameter_service.h"
#include "learner/run_service.h"
#include "model/weights.h"
#include "proto/replay.grpc.pb.h"

ABSL_FLAG(std::string, listen, "127.0.0.1:0", "HOST:PORT of the gRPC service; port 0 takes a free one");
ABSL_FLAG(std::string, replay, "", "HOST:PORT of the shard");
ABSL_FLAG(bool, random_policy, false, "actors take random actions for ever, instead of those of the policy");

namespace headrace {
namespace {

constexpr char kRun[] = "benchmark";
constexpr std::chrono::seconds kPatience{60};

v1::TableSpec MakeTable(const v1::RunConfig& config, const Experience& experience) {
  v1::TableSpec table;
  table.set_name("experience");
  *table.mutable_signature() = experience.signature;
  table.set_sampler(experience.sampler);
  table.set_remover(experience.remover);
  table.set_max_items(config.replay().capacity());
  table.set_max_bytes(config.replay().budget_bytes());
  table.set_max_item_rows(experience.item_rows);
  table.set_initial_insert_limit(UINT64_MAX);
  return table;
}

absl::Status CreateTable(const v1::TableSpec& table) {
  v1::CreateTableRequest request;
  *request.mutable_peer() = MakePeer(kRun, "learner");
  *request.mutable_spec() = table;
  v1::CreateTableResponse response;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kPatience);
  const auto stub = v1::Replay::NewStub(MakeChannel(absl::GetFlag(FLAGS_replay)));
  return FromGrpc(stub->CreateTable(&context, request, &response));
}

absl::Status RunStandIn(const ProcessFlags& flags) {
  RunService members(kRun, /*incarnation=*/1,
                     [&flags](const v1::EnvironmentSpec& environment) { return CheckFits(flags.config, environment); });
  ParameterService parameters(kRun);
  MetricRegistry registry("learner");
  ASSIGN_OR_RETURN(const std::unique_ptr<ProcessPorts> ports, ProcessPorts::Open(flags, registry));
  ASSIGN_OR_RETURN(const std::unique_ptr<GrpcServer> server,
                   GrpcServer::Start(absl::GetFlag(FLAGS_listen), {&members, &parameters}));
  RETURN_IF_ERROR(ports->Ready(flags, server->address()));

  ASSIGN_OR_RETURN(const v1::EnvironmentSpec environment,
                   members.WaitForEnvironment(std::chrono::steady_clock::now() + kPatience));
  ASSIGN_OR_RETURN(const Experience experience, MakeExperience(flags.config, environment));
  ASSIGN_OR_RETURN(const std::unique_ptr<Algorithm> algorithm, MakeAlgorithm(flags.config, environment));
  ASSIGN_OR_RETURN(std::string weights, SaveTensors(algorithm->PolicyTensors(), {}));
  parameters.Publish(PackPolicyVersion(1, 1), 0, std::move(weights));
  v1::Lease lease;
  lease.set_run_id(kRun);
  *lease.mutable_table() = MakeTable(flags.config, experience);
  RETURN_IF_ERROR(CreateTable(lease.table()));
  members.Open(std::move(lease), [](uint64_t) { return absl::GetFlag(FLAGS_random_policy) ? UINT64_MAX : 0; });
  while (!ShutdownSignal::WaitUntil(std::chrono::steady_clock::now() + kPatience)) members.TakeReports();
  return absl::CancelledError("terminated");
}

}  // namespace
}  // namespace headrace

int main(int argc, char** argv) {
  return headrace::RunProcess(argc, argv, "actor_learner: the learner's part in the actor benchmark",
                              headrace::RunStandIn);
}
