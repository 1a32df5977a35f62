// Steps a second of environments alone and in lanes. The difference of the two is what VectorEnvironment costs.
//
//   bazel run -c opt //actor/env:step_bench
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "actor/env/registry.h"
#include "actor/env/vector_environment.h"

namespace headrace {
namespace {

void BM_Bare(benchmark::State& state, const std::string& name) {
  const auto environment = *MakeEnvironment(name);
  const EnvironmentFacts& facts = environment->facts();
  RandomStream random(1, StreamRole::kTest, 0, StreamPurpose::kEnvironment);
  RandomStream choice(1, StreamRole::kTest, 0, StreamPurpose::kExploration);
  std::vector<std::byte> observation(facts.observation.bytes());
  std::vector<double> action(facts.action.dimensions());
  environment->Reset(random, observation);
  int length = 0;
  for (auto _ : state) {
    for (size_t i = 0; i < facts.action.low.size(); ++i) {
      action[i] = choice.Uniform(facts.action.low[i], facts.action.high[i]);
    }
    const int discrete = facts.action.continuous() ? 0 : static_cast<int>(choice.Below(facts.action.discrete));
    const bool terminated = environment->Step({.continuous = action, .discrete = discrete}, observation).terminated;
    if (!terminated && ++length != facts.max_episode_steps) continue;
    environment->Reset(random, observation);
    length = 0;
  }
  state.SetItemsProcessed(state.iterations());
}

void BM_Lanes(benchmark::State& state, const std::string& name) {
  const int lanes = static_cast<int>(state.range(0));
  const auto environments = *VectorEnvironment::Create(name, {.lanes = lanes, .seed = 1});
  const ActionSpec& spec = environments->facts().action;
  RandomStream choice(1, StreamRole::kTest, 0, StreamPurpose::kExploration);
  std::vector<float> continuous(spec.continuous() ? lanes * spec.dimensions() : 0);
  std::vector<int32_t> discrete(spec.continuous() ? 0 : lanes);
  for (auto _ : state) {
    for (float& number : continuous) number = static_cast<float>(choice.Uniform(-1, 1));
    for (int32_t& action : discrete) action = static_cast<int32_t>(choice.Below(spec.discrete));
    if (!(spec.continuous() ? environments->Step(continuous) : environments->Step(discrete)).ok()) {
      state.SkipWithError("a step failed");
      break;
    }
  }
  state.SetItemsProcessed(state.iterations() * lanes);
}

void RegisterAll() {
  for (const std::string name :
       {"Pendulum-v1", "CartPole-v1", "HalfCheetah-v5", "MinAtar/Seaquest-v1", "LaserNav-v0", "LaserNavNoiseless-v0"}) {
    benchmark::RegisterBenchmark((name + "/bare").c_str(), [name](auto& state) { BM_Bare(state, name); });
    benchmark::RegisterBenchmark((name + "/lanes").c_str(), [name](auto& state) { BM_Lanes(state, name); })
        ->Arg(1)
        ->Arg(4)
        ->Arg(16);
  }
}

}  // namespace
}  // namespace headrace

int main(int argc, char** argv) {
  headrace::RegisterAll();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
