// Actions a second by central inference, beside the network alone and beside local inference.
//
//   inference [--json] [--networks=mlp,minatar] [--environments=1,8,64,512] [--lanes=16,64] [--seconds=1] [--rounds=5]
//
// A server process answers actors that do nothing but ask: a thread each in this process, with so many environments
// (lanes) as they say, or all where there are fewer. Beside it, in turn with it: the bare network (forward passes on
// one core, of all environments at once), and actors with policies of their own, on as many threads as this machine has
// cores.
//
//   inference/NETWORK/environmentsN_of_L/server_cpu  actions in a second of the server's processor time, gRPC's
//   included;
//                                                    reference: of the bare network's
//   inference/NETWORK/environmentsN_of_L/wall        actions a second by the clock; reference: the bare network
//   inference/NETWORK/environmentsN_of_L/local       the same; reference: local inference
//
// Medians of the rounds. Output: a table, or with --json one object a line: name, value, unit, reference, ratio.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <iostream>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/randint.h"
#include "ATen/ops/randn.h"
#include "ATen/ops/zeros.h"
#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "actor/actor_metrics.h"
#include "actor/remote_action_source.h"
#include "algorithm/algorithm.h"
#include "algorithm/registry.h"
#include "c10/core/InferenceMode.h"
#include "common/check.h"
#include "common/config_fields.h"
#include "common/grpc_server.h"
#include "common/metrics.h"
#include "common/protocol.h"
#include "common/random.h"
#include "learner/inference_service.h"
#include "model/actor_critic_network.h"
#include "model/weights.h"
#include "tools/bench/server_process.h"

ABSL_FLAG(bool, json, false, "one JSON object a line instead of a table");
ABSL_FLAG(std::vector<std::string>, networks, std::vector<std::string>({"mlp", "minatar"}), "which networks");
ABSL_FLAG(std::vector<std::string>, environments, std::vector<std::string>({"1", "8", "64", "512"}),
          "environments in all");
ABSL_FLAG(double, seconds, 1, "of each round");
ABSL_FLAG(int, rounds, 5, "figures are their medians");
ABSL_FLAG(std::vector<std::string>, lanes, std::vector<std::string>({"16", "64"}), "environments of an actor");
ABSL_FLAG(int, deadline, 1000, "inference.deadline_microseconds");
ABSL_FLAG(int, batches, 1, "into which the environments of more than one actor are parted");
ABSL_FLAG(std::string, serve, "", "for the benchmark itself");

namespace headrace {
namespace {

constexpr int64_t kActions = 6;

// So many environments, and the actors that have them.
struct Load {
  Load(int all, int of_an_actor)
      : lanes(std::min(all, of_an_actor)), actors(all / lanes), environments(lanes * actors) {}
  int lanes;  // of an actor
  int actors;
  int environments;
};

v1::RunConfig MakeConfig(const std::string& network) {
  v1::RunConfig config;
  config.set_topology(v1::CENTRAL_INFERENCE);
  config.mutable_actor_critic()->mutable_network()->set_torso(network == "mlp" ? v1::MLP : v1::MINATAR);
  SetDefaults(&config);
  return config;
}

// What Pendulum's bigger relatives observe, or the planes of a small game.
v1::EnvironmentSpec MakeEnvironment(const std::string& network) {
  v1::EnvironmentSpec environment;
  environment.set_name(network);
  environment.mutable_observation()->set_name("observation");
  environment.mutable_observation()->set_data_type(network == "mlp" ? v1::FLOAT32 : v1::UINT8);
  if (network == "mlp") {
    environment.mutable_observation()->add_shape(17);
  } else {
    for (const uint32_t size : {4, 10, 10}) environment.mutable_observation()->add_shape(size);
  }
  environment.set_discrete_actions(kActions);
  environment.mutable_action()->set_name("action");
  environment.mutable_action()->set_data_type(v1::INT32);
  return environment;
}

at::Tensor MakeObservations(const std::string& network, int64_t lanes) {
  return network == "mlp" ? at::randn({lanes, 17}) : at::randint(0, 2, {lanes, 4, 10, 10}, at::kByte);
}

std::string MakeWeights(const std::string& network) {
  const auto algorithm = MakeAlgorithm(MakeConfig(network), MakeEnvironment(network));
  HEADRACE_CHECK(algorithm.ok());
  return *SaveTensors((*algorithm)->PolicyTensors(), {});
}

std::unique_ptr<Policy> MakeLoadedPolicy(const std::string& network, const std::string& weights) {
  absl::StatusOr<std::unique_ptr<Policy>> policy = MakePolicy(MakeConfig(network), MakeEnvironment(network));
  HEADRACE_CHECK(policy.ok() && LoadTensors(weights, (*policy)->Tensors()).ok());
  return *std::move(policy);
}

// role: NETWORK/MAX_BATCH/DEADLINE.
[[noreturn]] void Serve(const std::string& role) {
  const std::vector<std::string> parts = absl::StrSplit(role, '/');
  v1::RunConfig config = MakeConfig(parts.at(0));
  config.mutable_inference()->set_max_batch(static_cast<uint32_t>(std::stoul(parts.at(1))));
  config.mutable_inference()->set_deadline_microseconds(static_cast<uint32_t>(std::stoul(parts.at(2))));
  v1::LearnerIdentity identity;
  identity.set_run_id("bench");
  identity.set_incarnation(1);
  MetricRegistry registry("bench");
  InferenceService service(config, identity, registry);
  const std::string weights = MakeWeights(parts.at(0));
  service.Publish(1, weights);
  std::vector<std::unique_ptr<Policy>> policies;
  policies.push_back(MakeLoadedPolicy(parts.at(0), weights));
  HEADRACE_CHECK(service.Open(MakeEnvironment(parts.at(0)).observation(), std::move(policies)).ok());
  const auto server = GrpcServer::Start("127.0.0.1:0", {&service});
  HEADRACE_CHECK(server.ok());
  ServeForParent((*server)->address());
}

double WallSeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double ThreadSeconds() {
  timespec time;
  HEADRACE_CHECK(::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time) == 0);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

struct Rates {
  double wall = 0;
  double cpu = 0;  // of the server, or of the thread
};

// Threads that act for ever, one after the other only while they are let.
class Actors {
 public:
  // act: one step of the lanes of actor number i.
  Actors(int count, int lanes, const std::function<void(int)>& act) : lanes_(lanes) {
    for (int i = 0; i < count; ++i) {
      threads_.emplace_back([this, i, act] {
        at::get_num_threads();
        at::set_num_threads(1);
        for (running_.wait(false); !ending_; running_.wait(false)) {
          act(i);
          steps_.fetch_add(lanes_, std::memory_order_relaxed);
        }
      });
    }
  }
  ~Actors() {
    ending_ = true;
    Run(true);
    for (std::thread& thread : threads_) thread.join();
  }

  double StepsASecond(double seconds) {
    Run(true);
    const uint64_t before = steps_;
    const double begin = WallSeconds();
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    while (steps_ == before) std::this_thread::yield();  // on a busy machine not even one may be done yet
    const double rate = static_cast<double>(steps_ - before) / (WallSeconds() - begin);
    Run(false);
    return rate;
  }
  uint64_t steps() const { return steps_; }

 private:
  void Run(bool running) {
    running_ = running;
    running_.notify_all();
  }

  const int lanes_;
  std::atomic<bool> running_ = false;
  std::atomic<bool> ending_ = false;
  std::atomic<uint64_t> steps_ = 0;
  std::vector<std::thread> threads_;
};

class Network {
 public:
  Network(const std::string& network, int64_t lanes)
      : network_(*ActorCriticNetwork::Create(
            {.network = MakeConfig(network).actor_critic().network(),
             .observation = network == "mlp" ? std::vector<int64_t>{17} : std::vector<int64_t>{4, 10, 10},
             .actions = kActions},
            /*with_value=*/false, at::kCPU)),
        observations_(MakeObservations(network, lanes)) {
    RandomStream random(1);
    network_->Initialize(random);
  }

  Rates StepsASecond(double seconds) {
    const c10::InferenceMode no_autograd;
    const double wall = WallSeconds(), cpu = ThreadSeconds();
    int64_t steps = 0;
    while (WallSeconds() - wall < seconds) {
      for (int i = 0; i < 8; ++i) network_->Forward(observations_);
      steps += 8 * observations_.size(0);
    }
    return {static_cast<double>(steps) / (WallSeconds() - wall), static_cast<double>(steps) / (ThreadSeconds() - cpu)};
  }

 private:
  const std::unique_ptr<ActorCriticNetwork> network_;
  const at::Tensor observations_;
};

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<int64_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

void Report(const std::string& name, const std::vector<double>& values, const std::vector<double>& references) {
  const double value = Median(values), reference = Median(references);
  if (absl::GetFlag(FLAGS_json)) {
    std::printf("{\"name\": \"%s\", \"value\": %.0f, \"unit\": \"actions/s\", \"reference\": %.0f, \"ratio\": %.3f}\n",
                name.c_str(), value, reference, value / reference);
  } else {
    std::printf("%-46s %10.0f actions/s  reference %10.0f  ratio %5.2f\n", name.c_str(), value, reference,
                value / reference);
  }
  std::fflush(stdout);
}

RemoteActionSource::Options RemoteOptions(const std::string& network, const std::string& address, int lanes) {
  RemoteActionSource::Options options;
  options.address = address;
  *options.open.mutable_peer() = MakePeer("bench", "actor");
  *options.open.mutable_observation() = MakeEnvironment(network).observation();
  options.open.set_lanes(static_cast<uint32_t>(lanes));
  options.discrete_actions = kActions;
  return options;
}

void Measure(const std::string& network, const Load& load) {
  const double seconds = absl::GetFlag(FLAGS_seconds);
  const int max_batch =
      load.actors == 1 ? load.environments : std::max(load.lanes, load.environments / absl::GetFlag(FLAGS_batches));
  const ServerProcess server(absl::StrCat(network, "/", max_batch, "/", absl::GetFlag(FLAGS_deadline)));
  struct Actor {
    std::unique_ptr<RemoteActionSource> source;
    std::unique_ptr<Policy> policy;
    RandomStream random;
    at::Tensor observations, actions, log_probs, no_state = {};
  };
  const std::string weights = MakeWeights(network);
  MetricRegistry registry("bench");
  ActorMetrics metrics(registry);
  std::vector<Actor> remote, local;
  for (int i = 0; i < load.actors; ++i) {
    const auto make = [&](std::unique_ptr<RemoteActionSource> source, std::unique_ptr<Policy> policy) {
      return Actor{std::move(source),
                   std::move(policy),
                   RandomStream(static_cast<uint64_t>(i)),
                   MakeObservations(network, load.lanes),
                   at::zeros({load.lanes}, at::kInt),
                   at::zeros({load.lanes})};
    };
    remote.push_back(make(std::make_unique<RemoteActionSource>(RemoteOptions(network, server.address(), load.lanes),
                                                               RandomStream(1), &metrics, [] { return false; }),
                          nullptr));
    local.push_back(make(nullptr, MakeLoadedPolicy(network, weights)));
  }
  Network bare(network, load.environments);
  Actors central(load.actors, load.lanes, [&](int i) {
    Actor& actor = remote[static_cast<size_t>(i)];
    HEADRACE_CHECK(
        actor.source->Act(actor.observations, ActMode::kExplore, actor.no_state, actor.actions, actor.log_probs).ok());
  });
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  Actors apart(std::min(load.actors, cores), load.lanes, [&](int i) {
    Actor& actor = local[static_cast<size_t>(i)];
    actor.policy->Act(actor.observations, ActMode::kExplore, actor.random, actor.no_state, actor.actions,
                      actor.log_probs);
  });
  central.StepsASecond(seconds / 4);  // warm-up
  std::vector<double> wall, cpu, bare_wall, bare_cpu, local_wall;
  for (int round = 0; round < absl::GetFlag(FLAGS_rounds); ++round) {
    const double cpu_before = server.CpuSeconds();
    const uint64_t before = central.steps();
    wall.push_back(central.StepsASecond(seconds));
    cpu.push_back(static_cast<double>(central.steps() - before) / (server.CpuSeconds() - cpu_before));
    const Rates rates = bare.StepsASecond(seconds / 2);
    bare_wall.push_back(rates.wall);
    bare_cpu.push_back(rates.cpu);
    local_wall.push_back(apart.StepsASecond(seconds / 2));
  }
  const std::string name = absl::StrCat("inference/", network, "/environments", load.environments, "_of_", load.lanes);
  Report(name + "/server_cpu", cpu, bare_cpu);
  Report(name + "/wall", wall, bare_wall);
  Report(name + "/local", wall, local_wall);
}

std::vector<int> Numbers(const std::vector<std::string>& words, const char* what) {
  std::vector<int> numbers;
  for (const std::string& word : words) {
    if (!absl::SimpleAtoi(word, &numbers.emplace_back()) || numbers.back() < 1) {
      std::cerr << "--" << what << ": expected numbers of 1 or more, got \"" << word << "\"\n";
      std::exit(2);
    }
  }
  return numbers;
}

void MeasureAll() {
  for (const std::string& network : absl::GetFlag(FLAGS_networks)) {
    if (network != "mlp" && network != "minatar") {
      std::cerr << "--networks: expected mlp or minatar, got \"" << network << "\"\n";
      std::exit(2);
    }
    std::set<std::pair<int, int>> done;
    for (const int environments : Numbers(absl::GetFlag(FLAGS_environments), "environments")) {
      for (const int lanes : Numbers(absl::GetFlag(FLAGS_lanes), "lanes")) {
        const Load load(environments, lanes);
        if (done.emplace(load.environments, load.lanes).second) Measure(network, load);
      }
    }
  }
}

}  // namespace
}  // namespace headrace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Actions a second by central inference, beside the network alone and local inference.");
  absl::ParseCommandLine(argc, argv);
  headrace::TuneAllocatorForStreaming();
  at::set_num_threads(1);
  const std::string role = absl::GetFlag(FLAGS_serve);
  if (!role.empty()) headrace::Serve(role);
  headrace::MeasureAll();
}
