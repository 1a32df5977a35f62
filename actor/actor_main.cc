// The actor process: acts, or evaluates; also evaluates a checkpoint by itself.
#include <unistd.h>

#include <iostream>
#include <numeric>
#include <optional>

#include "ATen/Parallel.h"
#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "actor/acting.h"
#include "actor/action_source.h"
#include "actor/actor_learner.h"
#include "actor/actor_metrics.h"
#include "actor/attendance.h"
#include "actor/env/registry.h"
#include "actor/env/vector_environment.h"
#include "actor/environment_spec.h"
#include "actor/evaluation.h"
#include "actor/fetch_weights.h"
#include "actor/gradient_client.h"
#include "actor/parameter_subscriber.h"
#include "actor/remote_action_source.h"
#include "algorithm/recorded_columns.h"
#include "algorithm/registry.h"
#include "common/checkpoint.h"
#include "common/log.h"
#include "common/printable.h"
#include "common/process.h"
#include "common/protocol.h"
#include "common/random.h"
#include "common/shard_addresses.h"
#include "common/shards.h"
#include "common/shutdown.h"
#include "common/status_macros.h"
#include "model/weights.h"
#include "nlohmann/json.hpp"

ABSL_FLAG(std::string, role, "act",
          "act: step environments and write to replay; evaluate: play what the learner asks for");
ABSL_FLAG(std::string, learner, "", "HOST:PORT of the learner");
ABSL_FLAG(
    std::vector<std::string>, replay, {},
    "with --role=act: HOST:PORT of every replay shard, separated by commas, in order; or one for all, with {} for the "
    "shard's number");
ABSL_FLAG(std::optional<uint32_t>, index, std::nullopt,
          "asks the learner for this index, so that its messages name the process as whoever started it does; default: "
          "the first that is free");
ABSL_FLAG(std::string, checkpoint, "",
          "with --role=evaluate: evaluate the policy in this checkpoint directory, print the result as JSON, and end");
ABSL_FLAG(uint32_t, episodes, 10, "with --checkpoint: how many episodes");
ABSL_FLAG(uint64_t, seed, 0, "with --checkpoint: of the episodes' initial states");

namespace headrace {
namespace {

constexpr std::chrono::milliseconds kPatience{200};
constexpr std::chrono::seconds kFetchDeadline{30};
constexpr std::chrono::seconds kFailurePause{1};
constexpr std::chrono::seconds kOrphanPatience{15};  // it writes no checkpoint

struct Member {
  v1::EnvironmentSpec environment;
  std::unique_ptr<Attendance> attendance;
  v1::Lease lease;
};

v1::Peer ActorPeer(const v1::Lease& lease) { return MakePeer(lease.run_id(), absl::StrCat("actor ", lease.index())); }

bool ShouldStop(const Attendance& attendance) {
  return ShutdownSignal::Requested() || attendance.stopped() || !attendance.status().ok();
}

absl::StatusOr<v1::EnvironmentSpec> Environment(const v1::RunConfig& config) {
  ASSIGN_OR_RETURN(const EnvironmentFacts facts, FindEnvironment(config.environment().name()));
  v1::EnvironmentSpec environment = MakeEnvironmentSpec(facts, config.environment());
  RETURN_IF_ERROR(CheckFits(config, environment));
  return environment;
}

absl::StatusOr<Member> JoinRun(const v1::RunConfig& config, v1::Role role) {
  const std::string learner = absl::GetFlag(FLAGS_learner);
  if (learner.empty()) return absl::InvalidArgumentError("expected --learner=HOST:PORT, got none");
  Member member;
  ASSIGN_OR_RETURN(member.environment, Environment(config));
  v1::Join join;
  *join.mutable_peer() =
      MakePeer("", absl::StrCat(role == v1::ACTOR ? "actor" : "evaluator", " of process ", getpid()));
  join.set_role(role);
  *join.mutable_environment() = member.environment;
  join.set_environments(role == v1::ACTOR ? config.actor().environments() : 0);
  join.set_process_id(getpid());
  if (const std::optional<uint32_t> index = absl::GetFlag(FLAGS_index)) join.set_previous_index(*index);
  char host[256] = {};
  gethostname(host, sizeof(host) - 1);
  join.set_host(host);
  member.attendance = std::make_unique<Attendance>(learner, join);
  while (!ShouldStop(*member.attendance)) {
    absl::StatusOr<v1::Lease> lease = member.attendance->WaitForLease(std::chrono::steady_clock::now() + kPatience);
    if (absl::IsDeadlineExceeded(lease.status())) continue;
    RETURN_IF_ERROR(lease.status());
    member.lease = *lease;
    return member;
  }
  RETURN_IF_ERROR(member.attendance->status());
  return absl::CancelledError("stopped before the learner had granted a lease");
}

// A process that the learner sent home is done; one that was signalled was interrupted.
absl::Status Farewell(const Attendance& attendance) {
  RETURN_IF_ERROR(attendance.status());
  return attendance.stopped() ? absl::OkStatus() : absl::CancelledError("interrupted");
}

// Between which the acting loop runs: where actions come from, and where experience goes. One object in an actor that
// learns by itself.
struct Ends {
  std::unique_ptr<ParameterSubscriber> parameters;  // null: weights come otherwise
  std::unique_ptr<GradientClient> gradients;        // null: the learner computes them
  std::shared_ptr<ActionSource> action_source;
  std::shared_ptr<RowWriter> writer;
};

absl::StatusOr<std::unique_ptr<ActionSource>> MakeRemoteActionSource(const ActingOptions& options,
                                                                     const v1::EnvironmentSpec& environment,
                                                                     ActorMetrics* metrics,
                                                                     const std::function<bool()>& should_stop) {
  RemoteActionSource::Options remote;
  remote.address = absl::GetFlag(FLAGS_learner);
  remote.inference = options.config.inference();
  remote.discrete_actions = environment.discrete_actions();
  *remote.open.mutable_peer() = ActorPeer(options.lease);
  remote.open.set_lanes(options.config.actor().environments());
  remote.open.set_index(options.lease.index());
  ASSIGN_OR_RETURN(*remote.open.mutable_observation(), SeenObservation(environment));
  return std::make_unique<RemoteActionSource>(std::move(remote), ExplorationStream(options.config, options.lease),
                                              metrics, should_stop);
}

absl::StatusOr<Ends> MakeActorLearner(const ActingOptions& options, const v1::EnvironmentSpec& environment,
                                      ActorMetrics* metrics, const std::function<bool()>& should_stop) {
  v1::RunConfig config = options.config;
  config.set_device("cpu");  // what the learner computes on is not the actors' affair
  ASSIGN_OR_RETURN(std::unique_ptr<Algorithm> algorithm, MakeAlgorithm(config, environment));
  ASSIGN_OR_RETURN(std::unique_ptr<Policy> policy, MakePolicy(config, environment));
  v1::PushOpen open;
  *open.mutable_peer() = ActorPeer(options.lease);
  open.set_index(options.lease.index());
  open.set_pusher(RandomId());
  Ends ends;
  ends.gradients = std::make_unique<GradientClient>(absl::GetFlag(FLAGS_learner), std::move(open), should_stop);
  ASSIGN_OR_RETURN(std::shared_ptr<ActorLearner> learner,
                   ActorLearner::Create(options.experience, std::move(algorithm), std::move(policy),
                                        ExplorationStream(config, options.lease), ends.gradients.get(), metrics));
  ends.action_source = learner;
  ends.writer = learner;
  return ends;
}

absl::StatusOr<Ends> MakeEnds(const ActingOptions& options, const v1::EnvironmentSpec& environment,
                              const std::vector<std::string>& replay, ActorMetrics* metrics,
                              const std::function<bool()>& should_stop) {
  if (options.config.topology() == v1::ASYNCHRONOUS_GRADIENTS) {
    return MakeActorLearner(options, environment, metrics, should_stop);
  }
  Ends ends;
  ASSIGN_OR_RETURN(ends.writer, StartReplayWriter(options, replay));
  if (options.config.topology() == v1::CENTRAL_INFERENCE) {
    ASSIGN_OR_RETURN(ends.action_source, MakeRemoteActionSource(options, environment, metrics, should_stop));
    return ends;
  }
  ASSIGN_OR_RETURN(std::unique_ptr<Policy> policy, MakePolicy(options.config, environment));
  ends.parameters = std::make_unique<ParameterSubscriber>(absl::GetFlag(FLAGS_learner), ActorPeer(options.lease));
  ends.action_source = std::make_shared<LocalActionSource>(
      std::move(policy), ends.parameters.get(), ExplorationStream(options.config, options.lease),
      LocalActionSource::Options{.round_steps = options.experience.round_steps,
                                 .delay_updates = options.config.actor().policy_delay_updates()},
      metrics, should_stop);
  return ends;
}

absl::Status Act(const ProcessFlags& flags, ProcessPorts& ports, ActorMetrics& metrics) {
  ASSIGN_OR_RETURN(const std::vector<std::string> replay,
                   ShardAddresses(absl::GetFlag(FLAGS_replay), ShardsOf(flags.config)));
  RETURN_IF_ERROR(Environment(flags.config).status());
  RETURN_IF_ERROR(ports.Ready(flags, ""));
  absl::StatusOr<Member> joined = JoinRun(flags.config, v1::ACTOR);
  if (absl::IsCancelled(joined.status()) && !ShutdownSignal::Requested()) return absl::OkStatus();  // the run is over
  ASSIGN_OR_RETURN(Member member, std::move(joined));
  LogInfo("leased index %d of run %s", member.lease.index(), member.lease.run_id());
  ASSIGN_OR_RETURN(Experience experience, MakeExperience(flags.config, member.environment));
  ASSIGN_OR_RETURN(
      std::unique_ptr<VectorEnvironment> lanes,
      VectorEnvironment::Create(flags.config.environment().name(), LaneOptions(flags.config, member.lease)));
  Attendance* const attendance = member.attendance.get();
  const auto should_stop = [attendance] { return ShouldStop(*attendance); };
  const ActingOptions options = {flags.config, member.lease, std::move(experience)};
  ASSIGN_OR_RETURN(const Ends ends, MakeEnds(options, member.environment, replay, &metrics, should_stop));
  ASSIGN_OR_RETURN(const std::unique_ptr<Acting> acting,
                   Acting::Create(options, std::move(lanes), ends.action_source.get(), ends.writer.get(), attendance,
                                  &metrics, should_stop));
  RETURN_IF_ERROR(acting->Run());
  return Farewell(*attendance);
}

absl::StatusOr<EvaluationOptions> OptionsOf(const v1::RunConfig& config, const v1::EnvironmentSpec& environment) {
  ASSIGN_OR_RETURN(Experience experience, MakeExperience(config, environment));
  return EvaluationOptions{
      .make_environment = [name = environment.name()] { return MakeEnvironment(name); },
      .max_episode_steps = static_cast<int>(config.environment().max_episode_steps()),
      .frame_stack = static_cast<int>(config.environment().frame_stack()),
      .signature = std::move(experience.signature),
  };
}

absl::StatusOr<v1::EvaluationResult> EvaluateOrder(const Member& member, const v1::Evaluate& order,
                                                   EvaluationOptions options, Policy& policy) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const Weights> weights,
                   FetchWeights(absl::GetFlag(FLAGS_learner), MakePeer(member.lease.run_id(), "evaluator"),
                                order.version(), std::chrono::steady_clock::now() + kFetchDeadline));
  RETURN_IF_ERROR(LoadTensors(weights->safetensors, policy.Tensors()));
  options.episodes = order.episodes();
  options.seed = order.seed();
  options.should_stop = [&] { return ShouldStop(*member.attendance); };
  return Evaluate(options, policy);
}

void CountEvaluation(const absl::StatusOr<v1::EvaluationResult>& result, std::chrono::duration<double> time,
                     EvaluatorMetrics& metrics) {
  if (!result.ok()) {
    metrics.failures.Increment();
    return;
  }
  metrics.evaluations.Increment();
  metrics.episodes.Increment(result->returns_size());
  metrics.env_steps.Increment(std::accumulate(result->lengths().begin(), result->lengths().end(), 0.0));
  metrics.evaluation.Observe(time.count());
}

absl::Status EvaluateOrders(const ProcessFlags& flags, ProcessPorts& ports, EvaluatorMetrics& metrics) {
  RETURN_IF_ERROR(Environment(flags.config).status());
  RETURN_IF_ERROR(ports.Ready(flags, ""));
  absl::StatusOr<Member> joined = JoinRun(flags.config, v1::EVALUATOR);
  if (absl::IsCancelled(joined.status()) && !ShutdownSignal::Requested()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const Member member, std::move(joined));
  ASSIGN_OR_RETURN(const std::unique_ptr<Policy> policy, MakePolicy(flags.config, member.environment));
  ASSIGN_OR_RETURN(const EvaluationOptions options, OptionsOf(flags.config, member.environment));
  while (!ShouldStop(*member.attendance)) {
    const std::optional<v1::Evaluate> order =
        member.attendance->NextOrder(std::chrono::steady_clock::now() + kPatience);
    if (!order.has_value()) continue;
    const auto begin = std::chrono::steady_clock::now();
    absl::StatusOr<v1::EvaluationResult> result = EvaluateOrder(member, *order, options, *policy);
    if (!result.ok() && ShouldStop(*member.attendance)) break;  // another evaluator is asked once this one has left
    CountEvaluation(result, std::chrono::steady_clock::now() - begin, metrics);
    v1::AttendRequest report;
    if (result.ok()) {
      *report.mutable_evaluation() = *std::move(result);
    } else {
      LogError("evaluation failed: %s", result.status().ToString());
      report.mutable_evaluation()->set_error(Printable(result.status().ToString()));
    }
    report.mutable_evaluation()->set_version(order->version());
    member.attendance->Report(std::move(report));
    // The learner asks again at once.
    if (!result.ok()) ShutdownSignal::WaitUntil(std::chrono::steady_clock::now() + kFailurePause);
  }
  return Farewell(*member.attendance);
}

absl::Status EvaluateCheckpoint(const ProcessFlags& flags, const std::string& directory) {
  ASSIGN_OR_RETURN(const v1::EnvironmentSpec environment, Environment(flags.config));
  ASSIGN_OR_RETURN(const std::unique_ptr<Policy> policy, MakePolicy(flags.config, environment));
  ASSIGN_OR_RETURN(LoadedCheckpoint checkpoint, LoadCheckpoint(directory));
  if (const absl::Status status = LoadTensors(checkpoint.files[kPolicyFile], policy->Tensors()); !status.ok()) {
    return absl::Status(
        status.code(),
        absl::StrCat("the policy of ", directory, " does not fit ", environment.name(),
                     ", whose observations or actions differ from those it was trained on: ", status.message()));
  }
  ASSIGN_OR_RETURN(EvaluationOptions options, OptionsOf(flags.config, environment));
  options.episodes = absl::GetFlag(FLAGS_episodes);
  options.seed = absl::GetFlag(FLAGS_seed);
  options.should_stop = [] { return ShutdownSignal::Requested(); };
  ASSIGN_OR_RETURN(const v1::EvaluationResult result, Evaluate(options, *policy));
  const std::vector<double> returns(result.returns().begin(), result.returns().end());
  const std::vector<uint64_t> lengths(result.lengths().begin(), result.lengths().end());
  std::cout << nlohmann::json{{"returns", returns}, {"lengths", lengths}}.dump() << std::endl;
  return absl::OkStatus();
}

absl::Status RunActor(const ProcessFlags& flags) {
  at::set_num_threads(static_cast<int>(flags.config.actor().threads()));
  const std::string role = absl::GetFlag(FLAGS_role);
  const std::string checkpoint = absl::GetFlag(FLAGS_checkpoint);
  if (role != "act" && role != "evaluate") {
    return absl::InvalidArgumentError(absl::StrCat("expected --role=act or --role=evaluate, got \"", role, "\""));
  }
  if (!checkpoint.empty()) return EvaluateCheckpoint(flags, checkpoint);
  if (role == "act") {
    MetricRegistry registry("actor");
    ActorMetrics metrics(registry);
    ASSIGN_OR_RETURN(const std::unique_ptr<ProcessPorts> ports, ProcessPorts::Open(flags, registry));
    return Stay(flags, Act(flags, *ports, metrics));
  }
  MetricRegistry registry("evaluator");
  EvaluatorMetrics metrics(registry);
  ASSIGN_OR_RETURN(const std::unique_ptr<ProcessPorts> ports, ProcessPorts::Open(flags, registry));
  return Stay(flags, EvaluateOrders(flags, *ports, metrics));
}

}  // namespace
}  // namespace headrace

int main(int argc, char** argv) {
  return headrace::RunProcess(argc, argv, "actor: steps environments and writes to replay, or evaluates",
                              headrace::RunActor, headrace::kOrphanPatience);
}
