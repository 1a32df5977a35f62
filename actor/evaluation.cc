#include "actor/evaluation.h"

#include <algorithm>
#include <exception>
#include <utility>
#include <vector>

#include "ATen/ops/zeros.h"
#include "absl/strings/str_format.h"
#include "actor/env/vector_environment.h"
#include "actor/lane_tensors.h"
#include "common/log.h"
#include "common/random.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

constexpr uint32_t kMaxLanes = 64;
// Times that an episode is begun before the evaluation fails.
constexpr int kAttempts = 3;

// One episode in each of `lanes` lanes.
absl::Status PlayRound(const EvaluationOptions& options, Policy& policy, uint32_t first, uint32_t lanes,
                       v1::EvaluationResult& result) {
  std::vector<std::unique_ptr<Environment>> environments(lanes);
  for (auto& made : environments) {
    ASSIGN_OR_RETURN(made, options.make_environment());
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<VectorEnvironment> environment,
                   VectorEnvironment::Create(std::move(environments), {.lanes = static_cast<int>(lanes),
                                                                       .seed = options.seed,
                                                                       .role = StreamRole::kEvaluator,
                                                                       .first_lane = first,
                                                                       .max_episode_steps = options.max_episode_steps,
                                                                       .frame_stack = options.frame_stack}));
  const EnvironmentFacts& facts = environment->facts();
  ASSIGN_OR_RETURN(at::Tensor observations, MakeObservationTensor(facts.observation, options.signature, lanes));
  at::Tensor recurrent_state = MakeRecurrentStateTensor(options.signature, lanes);
  at::Tensor actions = MakeActionTensor(facts.action, lanes);
  at::Tensor log_probs = at::zeros({lanes}, at::kFloat);
  RandomStream unused(options.seed, StreamRole::kEvaluator, first, StreamPurpose::kExploration);
  std::vector<bool> finished(lanes);
  std::vector<int> interruptions(lanes);
  std::vector<double> returns(lanes);
  std::vector<uint64_t> lengths(lanes);
  for (uint32_t missing = lanes; missing > 0;) {
    if (options.should_stop()) return absl::CancelledError("stopping");
    CopyObservations(environment->observations(), facts.observation.data_type, observations);
    policy.Act(observations, ActMode::kGreedy, unused, recurrent_state, actions, log_probs);
    RETURN_IF_ERROR(StepLanes(actions, *environment));
    for (uint32_t lane = 0; lane < lanes; ++lane) {
      const LaneStep& step = environment->steps()[lane];
      if (finished[lane] || !step.done()) continue;
      if (recurrent_state.defined()) recurrent_state[lane].zero_();
      if (step.interrupted) {
        // The lane has begun another episode already.
        LogWarning("evaluation: episode %d interrupted after %d steps: %s", first + lane, step.episode_length,
                   step.cause);
        if (++interruptions[lane] < kAttempts) continue;
        return absl::InternalError(
            absl::StrFormat("episode %d was interrupted %d times: %s", first + lane, kAttempts, step.cause));
      }
      finished[lane] = true;
      environment->Retire(static_cast<int>(lane));
      returns[lane] = step.episode_return;
      lengths[lane] = static_cast<uint64_t>(step.episode_length);
      --missing;
    }
  }
  result.mutable_returns()->Add(returns.begin(), returns.end());
  result.mutable_lengths()->Add(lengths.begin(), lengths.end());
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<v1::EvaluationResult> Evaluate(const EvaluationOptions& options, Policy& policy) {
  try {
    v1::EvaluationResult result;
    for (uint32_t first = 0; first < options.episodes; first += kMaxLanes) {
      RETURN_IF_ERROR(PlayRound(options, policy, first, std::min(kMaxLanes, options.episodes - first), result));
    }
    return result;
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());  // of LibTorch
  }
}

}  // namespace headrace
