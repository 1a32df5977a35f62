// What a simulator must offer to be learned from.
//
// An environment is one .cc file under actor/env/ with its facts record, and one line in registry.cc. The conformance
// suite (conformance_test.cc) runs over every line of that list. docs/adding_an_environment.md walks through it.
//
//   std::unique_ptr<Environment> env = *MakeEnvironment("Pendulum-v1");
//   std::vector<std::byte> observation(env->facts().observation.bytes());
//   RandomStream random(seed, StreamRole::kActor, lane, StreamPurpose::kEnvironment);
//   env->Reset(random, observation);
//   StepResult result = env->Step({.continuous = torque}, observation);
//
// Time limits, autoreset, action normalisation and checks for non-finite numbers are the business of VectorEnvironment
// (vector_environment.h), not of the environments.
//
// Not thread-safe; different objects may be used on different threads at once.
#ifndef HEADRACE_ACTOR_ENV_ENVIRONMENT_H_
#define HEADRACE_ACTOR_ENV_ENVIRONMENT_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/random.h"
#include "proto/column.pb.h"

namespace headrace {

struct ArraySpec {
  v1::DataType data_type = v1::FLOAT32;
  std::vector<uint32_t> shape;

  size_t elements() const;
  size_t bytes() const;
};

// Continuous: one bound pair for each dimension, in the environment's own units. Discrete: the number of actions.
struct ActionSpec {
  std::vector<double> low;
  std::vector<double> high;
  int discrete = 0;

  bool continuous() const { return discrete == 0; }
  size_t dimensions() const { return continuous() ? low.size() : 1; }
};

struct EnvironmentFacts {
  std::string name;     // "Pendulum-v1"
  std::string summary;  // one line, for `headrace list`
  std::string source;   // where its equations come from
  ArraySpec observation;
  ActionSpec action;
  int max_episode_steps = 0;    // its time limit; 0: none
  double reward_threshold = 0;  // the return at which it counts as solved; NaN: none is established
};

// One of the two is used, as the action spec says.
struct Action {
  std::span<const double> continuous = {};  // [dimensions], within the bounds, in the environment's own units
  int discrete = 0;                         // in [0, spec.discrete)
};

struct StepResult {
  double reward = 0;
  bool terminated = false;  // a terminal state was reached; time limits are not reported here
};

class Environment {
 public:
  virtual ~Environment() = default;

  virtual const EnvironmentFacts& facts() const = 0;

  // Starts an episode. All randomness, of the whole episode too, comes from `random`, which outlives the episode.
  // `observation` is a buffer of facts().observation.bytes() that receives o_0.
  virtual void Reset(RandomStream& random, std::span<std::byte> observation) = 0;

  // Advances by one step; the buffer receives o_{t+1}, which for a terminal step is the final observation. May throw:
  // the episode then counts as interrupted and the environment is reset.
  virtual StepResult Step(const Action& action, std::span<std::byte> observation) = 0;

  // The simulator's state as numbers, and back: for parity tests and for looking inside. The next Step continues from
  // it; of the random stream it says nothing. InvalidArgument: the size does not fit.
  virtual std::vector<double> State() const = 0;
  virtual absl::Status SetState(std::span<const double> state) = 0;
};

// The buffer as numbers of type T, which must be the type of the observation.
template <typename T>
std::span<T> As(std::span<std::byte> bytes) {
  return {reinterpret_cast<T*>(bytes.data()), bytes.size() / sizeof(T)};
}

}  // namespace headrace

#endif  // HEADRACE_ACTOR_ENV_ENVIRONMENT_H_
