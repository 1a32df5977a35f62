// What an actor cannot be faster than: a bare simulator step and the bare network, on one core and nothing around them.
//
//   actor_limit --config=deploy/run/half_cheetah_sac.textproto --environment=HalfCheetah-v5 --lanes=4 --hidden=256
//
// The simulator's actions are those of the configuration's policy, or random ones; choosing them is not measured.
// Seconds are those of the processor. Measures for so many as each line of its input says, and answers with a line of
// JSON:
// {"step_seconds": of one step of one environment, "network_seconds": of the network for one of the lanes}.
#include <algorithm>
#include <cstdint>
#include <ctime>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/ops/addmm.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/from_blob.h"
#include "ATen/ops/randn.h"
#include "ATen/ops/zeros.h"
#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "actor/env/environment.h"
#include "actor/env/registry.h"
#include "actor/environment_spec.h"
#include "algorithm/algorithm.h"
#include "algorithm/registry.h"
#include "c10/core/InferenceMode.h"
#include "common/config.h"
#include "common/random.h"
#include "common/status_macros.h"
#include "model/weights.h"
#include "nlohmann/json.hpp"

ABSL_FLAG(std::string, config, "", "configuration of the policy that chooses the actions");
ABSL_FLAG(bool, random_policy, false, "random actions, instead of those of the policy");
ABSL_FLAG(std::string, environment, "Pendulum-v1", "which simulator");
ABSL_FLAG(int64_t, lanes, 1, "observations that the network is given at once");
ABSL_FLAG(int64_t, hidden, 256, "units of each of the network's two hidden layers");

namespace headrace {
namespace {

double ProcessorSeconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

// Seconds of one call of `work`, in the mean over at least `seconds`.
double SecondsPerCall(double seconds, const std::function<void()>& work) {
  constexpr int kCallsAtOnce = 64;
  const double start = ProcessorSeconds();
  int64_t calls = 0;
  double elapsed = 0;
  do {
    for (int i = 0; i < kCallsAtOnce; ++i) work();
    calls += kCallsAtOnce;
    elapsed = ProcessorSeconds() - start;
  } while (elapsed < seconds);
  return elapsed / static_cast<double>(calls);
}

// Steps through the same episodes again and again, with actions that were chosen beforehand: what a step costs depends
// on the states that its actions lead to.
class Simulator {
 public:
  Simulator(std::unique_ptr<Environment> environment, Policy& policy, ActMode mode)
      : environment_(std::move(environment)),
        facts_(environment_->facts()),
        random_(Start()),
        observation_(facts_.observation.bytes()) {
    constexpr size_t kSteps = 4096;
    RandomStream exploration(1, StreamRole::kTest, 0, StreamPurpose::kExploration);
    at::Tensor action = at::zeros({1, static_cast<int64_t>(facts_.action.dimensions())}), log_probs = at::zeros({1});
    at::Tensor no_state;
    environment_->Reset(random_, observation_);
    while (actions_.size() < kSteps) {
      policy.Act(Observation(), mode, exploration, no_state, action, log_probs);
      actions_.push_back(InUnits(action));
      Advance(actions_.back());
    }
    Rewind();
  }

  void Step() {
    Advance(actions_[next_]);
    if (++next_ == actions_.size()) Rewind();
  }

 private:
  static RandomStream Start() { return RandomStream(1, StreamRole::kTest, 0, StreamPurpose::kEnvironment); }

  void Rewind() {
    next_ = 0;
    random_ = Start();
    Reset();
  }
  void Reset() {
    environment_->Reset(random_, observation_);
    length_ = 0;
  }
  void Advance(const std::vector<double>& action) {
    const bool terminated = environment_->Step({.continuous = action}, observation_).terminated;
    if (terminated || ++length_ == facts_.max_episode_steps) Reset();
  }
  at::Tensor Observation() {
    const auto type = facts_.observation.data_type == v1::FLOAT64 ? at::kDouble : at::kFloat;
    const auto elements = static_cast<int64_t>(facts_.observation.elements());
    return at::from_blob(observation_.data(), {1, elements}, type).to(at::kFloat);
  }
  // -1 is an action's lower bound, 1 its upper one.
  std::vector<double> InUnits(const at::Tensor& action) const {
    std::vector<double> units;
    for (size_t i = 0; i < facts_.action.dimensions(); ++i) {
      const double low = facts_.action.low[i], high = facts_.action.high[i];
      const double value = action.const_data_ptr<float>()[i];
      units.push_back(std::clamp(value * (high - low) / 2 + (high + low) / 2, low, high));
    }
    return units;
  }

  const std::unique_ptr<Environment> environment_;
  const EnvironmentFacts& facts_;
  RandomStream random_;
  std::vector<std::byte> observation_;
  std::vector<std::vector<double>> actions_;
  size_t next_ = 0;
  int length_ = 0;
};

// observation -> hidden -> hidden -> mean and scale of each action.
class Network {
 public:
  Network(int64_t lanes, int64_t observation, int64_t hidden, int64_t outputs) {
    activations_.push_back(at::randn({lanes, observation}));
    for (const int64_t units : {hidden, hidden, outputs}) {
      weights_.push_back(at::randn({activations_.back().size(1), units}));
      biases_.push_back(at::randn({units}));
      activations_.push_back(at::empty({lanes, units}));
    }
  }

  void Evaluate() {
    for (size_t i = 0; i < weights_.size(); ++i) {
      at::addmm_out(activations_[i + 1], biases_[i], activations_[i], weights_[i]);
      if (i + 1 < weights_.size()) activations_[i + 1].relu_();
    }
  }

 private:
  std::vector<at::Tensor> weights_, biases_, activations_;
};

// That of the benchmark's actor, which gets its weights from actor_learner: those that the algorithm begins with.
absl::StatusOr<std::unique_ptr<Policy>> MakeBenchmarkPolicy(const v1::RunConfig& config,
                                                            const v1::EnvironmentSpec& environment) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Algorithm> algorithm, MakeAlgorithm(config, environment));
  ASSIGN_OR_RETURN(const std::string weights, SaveTensors(algorithm->PolicyTensors(), {}));
  ASSIGN_OR_RETURN(std::unique_ptr<Policy> policy, MakePolicy(config, environment));
  RETURN_IF_ERROR(LoadTensors(weights, policy->Tensors()));
  return policy;
}

absl::Status AnswerRequests() {
  const std::string name = absl::GetFlag(FLAGS_environment);
  ASSIGN_OR_RETURN(const v1::RunConfig config,
                   LoadRunConfig(absl::GetFlag(FLAGS_config), {"environment.name=" + name}));
  ASSIGN_OR_RETURN(std::unique_ptr<Environment> environment, MakeEnvironment(name));
  const EnvironmentFacts facts = environment->facts();
  ASSIGN_OR_RETURN(const std::unique_ptr<Policy> policy,
                   MakeBenchmarkPolicy(config, MakeEnvironmentSpec(facts, config.environment())));
  Simulator simulator(std::move(environment), *policy,
                      absl::GetFlag(FLAGS_random_policy) ? ActMode::kRandom : ActMode::kExplore);
  const int64_t lanes = absl::GetFlag(FLAGS_lanes);
  Network network(lanes, static_cast<int64_t>(facts.observation.elements()), absl::GetFlag(FLAGS_hidden),
                  2 * static_cast<int64_t>(facts.action.dimensions()));
  std::string line;
  while (std::getline(std::cin, line)) {
    const double seconds = std::stod(line);
    const double step = SecondsPerCall(seconds / 2, [&] { simulator.Step(); });
    const double evaluation = SecondsPerCall(seconds / 2, [&] { network.Evaluate(); });
    std::cout << nlohmann::json{{"step_seconds", step}, {"network_seconds", evaluation / static_cast<double>(lanes)}}
              << std::endl;
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace headrace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Seconds of a bare simulator step and of the bare network.");
  absl::ParseCommandLine(argc, argv);
  at::set_num_threads(1);
  const c10::InferenceMode no_autograd;
  const absl::Status status = headrace::AnswerRequests();
  if (!status.ok()) std::cerr << status << "\n";
  return status.ok() ? 0 : 2;
}
