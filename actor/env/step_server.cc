// Steps an environment on behalf of another program, for comparisons with other implementations of it.
//
//   step_server NAME SEED
//
// Commands on standard input, answers on standard output, all numbers float64 in native byte order:
//   'R'            resets        -> the length n of the state, the state [n], the observation
//   'A' action     steps         -> the observation, the reward, 1 if the state is terminal or else 0
// An action is as many numbers as the action has dimensions, in the environment's own units; a discrete one is a number
// too. All randomness is of the stream (SEED, kTest, 0, kEnvironment). End of input ends the program.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "actor/env/registry.h"

namespace headrace {
namespace {

void Write(std::span<const double> numbers) { std::fwrite(numbers.data(), sizeof(double), numbers.size(), stdout); }

template <typename T>
std::vector<double> NumbersOf(std::span<std::byte> observation) {
  const auto numbers = As<T>(observation);
  return {numbers.begin(), numbers.end()};
}

std::vector<double> Numbers(const ArraySpec& spec, std::span<std::byte> observation) {
  if (spec.data_type == v1::FLOAT64) return NumbersOf<double>(observation);
  if (spec.data_type == v1::UINT8) return NumbersOf<uint8_t>(observation);
  return NumbersOf<float>(observation);
}

int Serve(Environment& environment, uint64_t seed) {
  const EnvironmentFacts& facts = environment.facts();
  RandomStream random(seed, StreamRole::kTest, 0, StreamPurpose::kEnvironment);
  std::vector<std::byte> observation(facts.observation.bytes());
  std::vector<double> action(facts.action.dimensions());
  for (int command = std::getchar(); command != EOF; command = std::getchar()) {
    if (command == 'R') {
      environment.Reset(random, observation);
      const std::vector<double> state = environment.State();
      Write(std::vector<double>{static_cast<double>(state.size())});
      Write(state);
      Write(Numbers(facts.observation, observation));
    } else if (command == 'A' && std::fread(action.data(), sizeof(double), action.size(), stdin) == action.size()) {
      const StepResult result = facts.action.continuous()
                                    ? environment.Step({.continuous = action}, observation)
                                    : environment.Step({.discrete = static_cast<int>(action[0])}, observation);
      Write(Numbers(facts.observation, observation));
      Write(std::vector<double>{result.reward, result.terminated ? 1.0 : 0.0});
    } else {
      std::fprintf(stderr, "bad command %d\n", command);
      return 2;
    }
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace headrace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s NAME SEED\n", argv[0]);
    return 2;
  }
  const auto environment = headrace::MakeEnvironment(argv[1]);
  if (!environment.ok()) {
    std::fprintf(stderr, "%s\n", environment.status().ToString().c_str());
    return 2;
  }
  return headrace::Serve(**environment, std::strtoull(argv[2], nullptr, 10));
}
