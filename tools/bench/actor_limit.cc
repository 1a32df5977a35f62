// What an actor cannot be faster than: a bare simulator step and the bare network, on one core and nothing around them.
//
//   actor_limit --environment=HalfCheetah-v5 --lanes=4 --hidden=256
//
// Seconds are those of the processor. Measures for so many as each line of its input says, and answers with a line of
// JSON:
// {"step_seconds": of one step of one environment, "network_seconds": of the network for one of the lanes}.
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
#include "ATen/ops/randn.h"
#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "actor/env/environment.h"
#include "actor/env/registry.h"
#include "c10/core/InferenceMode.h"
#include "common/random.h"
#include "nlohmann/json.hpp"

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

// Random actions, and a new episode when one has ended.
class Simulator {
 public:
  explicit Simulator(std::unique_ptr<Environment> environment)
      : environment_(std::move(environment)),
        facts_(environment_->facts()),
        random_(1, StreamRole::kTest, 0, StreamPurpose::kEnvironment),
        observation_(facts_.observation.bytes()),
        action_(facts_.action.dimensions()) {
    environment_->Reset(random_, observation_);
  }

  void Step() {
    for (size_t i = 0; i < action_.size(); ++i) {
      action_[i] = random_.Uniform(facts_.action.low[i], facts_.action.high[i]);
    }
    const bool terminated = environment_->Step({.continuous = action_}, observation_).terminated;
    if (!terminated && ++length_ < facts_.max_episode_steps) return;
    environment_->Reset(random_, observation_);
    length_ = 0;
  }

  const EnvironmentFacts& facts() const { return facts_; }

 private:
  const std::unique_ptr<Environment> environment_;
  const EnvironmentFacts& facts_;
  RandomStream random_;
  std::vector<std::byte> observation_;
  std::vector<double> action_;
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

int Main() {
  at::set_num_threads(1);
  const c10::InferenceMode no_autograd;
  absl::StatusOr<std::unique_ptr<Environment>> environment = MakeEnvironment(absl::GetFlag(FLAGS_environment));
  if (!environment.ok()) {
    std::cerr << environment.status() << "\n";
    return 2;
  }
  Simulator simulator(*std::move(environment));
  const int64_t lanes = absl::GetFlag(FLAGS_lanes);
  const EnvironmentFacts& facts = simulator.facts();
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
  return 0;
}

}  // namespace
}  // namespace headrace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Seconds of a bare simulator step and of the bare network.");
  absl::ParseCommandLine(argc, argv);
  return headrace::Main();
}
