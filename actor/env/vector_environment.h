// The environments of one actor process: E lanes of the same environment, stepped one after the other in one call, with
// what every actor needs around them: normalised actions, time limits, autoreset, and lanes that survive a crash.
//
//   auto lanes = *VectorEnvironment::Create("HalfCheetah-v5", {.lanes = 16, .seed = 1, .first_lane = 32});
//   for (;;) {
//     policy.Act(lanes->observations(), actions);              // o_t of every lane
//     RETURN_IF_ERROR(lanes->Step(actions));                   // observations() are now o_{t+1}, or the new o_0
//     for (int lane = 0; lane < lanes->size(); ++lane) {
//       const LaneStep& step = lanes->steps()[lane];
//       if (step.interrupted) DropLastTransition(lane, step.cause);
//       else AppendRow(lane, step.reward, step.terminated, step.truncated);
//       if (step.done()) AppendFinalRow(lane, lanes->final_observation(lane));
//     }
//   }
//
// An episode of T steps is T+1 rows: row t holds o_t and the reward and flags of the action taken on it, the last row
// holds the final observation alone. When a step ends a lane's episode, final_observation(lane) is that observation and
// observations() already hold the first one of the lane's next episode.
//
// An episode ends in one of these ways, and both flags are reported as they are:
//   terminated   the environment reached a terminal state; there is nothing to bootstrap from
//   truncated    the time limit was reached (perhaps in the very step that also terminated it)
//   interrupted  the environment threw, or gave an observation or reward that no finite float32 can hold, as replay and
//                networks do: that step did not happen. Its reward is 0, neither flag is set, and the final observation
//                is o_t, the one the action was taken on. The return and length are those without it; an episode of
//                length 0 holds no transition at all.
//
// Randomness of lane i comes from the stream (seed, role, first_lane + i, kEnvironment): the same whatever the number
// of lanes in one process.
//
// Not thread-safe.
#ifndef HEADRACE_ACTOR_ENV_VECTOR_ENVIRONMENT_H_
#define HEADRACE_ACTOR_ENV_VECTOR_ENVIRONMENT_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "actor/env/environment.h"
#include "common/random.h"

namespace headrace {

// What the last Step did in one lane.
struct LaneStep {
  double reward = 0;
  bool terminated = false;
  bool truncated = false;
  bool interrupted = false;
  std::string cause;   // why it was interrupted
  bool threw = false;  // by an exception; otherwise by what is no number

  // Of the lane's episode up to and including this step.
  double episode_return = 0;
  int episode_length = 0;

  bool done() const { return terminated || truncated || interrupted; }
};

class VectorEnvironment {
 public:
  struct Options {
    int lanes = 1;
    uint64_t seed = 0;
    StreamRole role = StreamRole::kActor;
    uint32_t first_lane = 0;                      // index of lane 0 among the lanes of all actors
    int max_episode_steps = 0;                    // 0: the environment's own limit
    std::chrono::duration<double> step_delay{0};  // that each step of a lane takes longer
    int frame_stack = 1;                          // observations in one, see frame_stack.h
  };

  // Makes the environments and starts an episode in each. InvalidArgument: no environment has that name, or the
  // options make no sense. Internal: an environment could not be made or reset, and why.
  static absl::StatusOr<std::unique_ptr<VectorEnvironment>> Create(std::string_view name, const Options& options);

  // The same with the environments given, one for each lane; they must have the same facts.
  static absl::StatusOr<std::unique_ptr<VectorEnvironment>> Create(
      std::vector<std::unique_ptr<Environment>> environments, const Options& options);

  const EnvironmentFacts& facts() const { return facts_; }
  int size() const { return static_cast<int>(lanes_.size()); }
  int max_episode_steps() const { return max_episode_steps_; }

  // Continuous actions, [lanes, dimensions]: -1 is an action's lower bound, 1 its upper one, and what lies outside is
  // clipped. Discrete actions, [lanes]. InvalidArgument: wrong number or kind, not a number, no such action; nothing
  // was stepped. Internal: an environment cannot be reset any more, and why; this object is then of no further use.
  absl::Status Step(std::span<const float> actions);
  absl::Status Step(std::span<const int32_t> actions);

  // The lane is not stepped any more; its last step and its observation stay.
  void Retire(int lane) { lanes_[lane].retired = true; }

  // The current observation of every lane, [lanes, facts().observation.bytes()].
  std::span<const std::byte> observations() const { return observations_; }
  std::span<const LaneStep> steps() const { return steps_; }
  // Valid until the next Step, for lanes whose episode the last Step ended.
  std::span<const std::byte> final_observation(int lane) const { return Row(final_observations_, lane); }

 private:
  struct Lane {
    std::unique_ptr<Environment> environment;
    RandomStream random;
    bool retired = false;
  };

  VectorEnvironment(std::vector<std::unique_ptr<Environment>> environments, const Options& options);

  absl::Status StepLane(int lane, const Action& action);
  absl::Status ResetLane(int lane);
  std::span<std::byte> Row(std::vector<std::byte>& rows, int lane) const;
  std::span<const std::byte> Row(const std::vector<std::byte>& rows, int lane) const;

  const EnvironmentFacts facts_;
  const size_t observation_bytes_;
  const std::chrono::duration<double> step_delay_;
  const int max_episode_steps_;  // 0: no limit

  std::vector<Lane> lanes_;
  std::vector<std::byte> observations_;
  std::vector<std::byte> final_observations_;  // also where the environments write, until it is known what a step was
  std::vector<LaneStep> steps_;
  std::vector<double> action_;  // of one lane, in the environment's own units
};

}  // namespace headrace

#endif  // HEADRACE_ACTOR_ENV_VECTOR_ENVIRONMENT_H_
