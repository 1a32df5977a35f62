#include "actor/evaluation.h"

#include <algorithm>
#include <exception>

#include "ATen/ops/zeros.h"
#include "absl/strings/str_format.h"
#include "actor/env/vector_environment.h"
#include "actor/observations.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

constexpr uint32_t kMaxLanes = 64;

// One episode in each of `lanes` lanes.
absl::Status PlayRound(const v1::RunConfig& config, Policy& policy, uint32_t first, uint32_t lanes, uint64_t seed,
                       const std::function<bool()>& should_stop, v1::EvaluationResult& result) {
  ASSIGN_OR_RETURN(
      const std::unique_ptr<VectorEnvironment> environment,
      VectorEnvironment::Create(config.environment().name(),
                                {.lanes = static_cast<int>(lanes),
                                 .seed = seed,
                                 .role = StreamRole::kEvaluator,
                                 .first_lane = first,
                                 .max_episode_steps = static_cast<int>(config.environment().max_episode_steps())}));
  const EnvironmentFacts& facts = environment->facts();
  v1::Column column;
  column.set_data_type(facts.observation.data_type == v1::FLOAT64 ? v1::FLOAT32 : facts.observation.data_type);
  ASSIGN_OR_RETURN(at::Tensor observations, MakeObservationTensor(facts.observation, column, lanes));
  at::Tensor actions = facts.action.continuous()
                           ? at::zeros({lanes, static_cast<int64_t>(facts.action.dimensions())}, at::kFloat)
                           : at::zeros({lanes}, at::kInt);
  at::Tensor log_probs = at::zeros({lanes}, at::kFloat);
  RandomStream unused(seed, StreamRole::kEvaluator, first, StreamPurpose::kExploration);
  std::vector<bool> finished(lanes);
  std::vector<double> returns(lanes);
  std::vector<uint64_t> lengths(lanes);
  for (uint32_t missing = lanes; missing > 0;) {
    if (should_stop()) return absl::CancelledError("stopping");
    CopyObservations(environment->observations(), facts.observation.data_type, observations);
    policy.Act(observations, ActMode::kGreedy, unused, actions, log_probs);
    const size_t elements = static_cast<size_t>(actions.numel());
    RETURN_IF_ERROR(facts.action.continuous()
                        ? environment->Step(std::span<const float>(actions.data_ptr<float>(), elements))
                        : environment->Step(std::span<const int32_t>(actions.data_ptr<int32_t>(), elements)));
    for (uint32_t lane = 0; lane < lanes; ++lane) {
      const LaneStep& step = environment->steps()[lane];
      if (finished[lane] || !step.done()) continue;
      if (step.interrupted) {
        return absl::InternalError(absl::StrFormat("episode %d was interrupted: %s", first + lane, step.cause));
      }
      finished[lane] = true;
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

absl::StatusOr<v1::EvaluationResult> Evaluate(const v1::RunConfig& config, Policy& policy, uint32_t episodes,
                                              uint64_t seed, const std::function<bool()>& should_stop) {
  try {
    v1::EvaluationResult result;
    for (uint32_t first = 0; first < episodes; first += kMaxLanes) {
      RETURN_IF_ERROR(
          PlayRound(config, policy, first, std::min(kMaxLanes, episodes - first), seed, should_stop, result));
    }
    return result;
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());  // of LibTorch
  }
}

}  // namespace headrace
