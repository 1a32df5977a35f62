#include "algorithm/q_learning.h"

#include <utility>

#include "ATen/TensorOperators.h"
#include "ATen/ops/where.h"
#include "ATen/ops/zeros.h"
#include "algorithm/epsilon_greedy_actor.h"
#include "algorithm/q_experience.h"
#include "algorithm/target/v_trace.h"
#include "algorithm/unroll_experience.h"
#include "common/random.h"
#include "common/status_macros.h"
#include "model/device.h"

namespace headrace {

QLearning::QLearning(const v1::QLearningOptions& options, std::unique_ptr<QModel> model)
    : options_(options),
      model_(std::move(model)),
      metrics_(
          at::zeros({static_cast<int64_t>(MetricNames().size())}, model_->network().parameters().flat().options())) {}

std::vector<ParameterGroup> QLearning::ParameterGroups() {
  return {{"network", {model_->network().parameters().flat()}, options_.optimizer()}};
}

void QLearning::Update(const Batch& batch, GradientSink& sink) {
  const UnrollTensors unroll =
      MakeUnrollTensors(batch, options_.discount(), /*reward_scale=*/1, options_.reward_clip());
  // y_t = r_t + discount_t y_{t+1}, or one step of it: what generalised advantages add up to with lambda 1, or 0.
  const at::Tensor y =
      MakeGeneralizedAdvantage({unroll.reward, unroll.discount, unroll.is_step, NextValues(batch), /*log_rho=*/{}},
                               /*lambda=*/options_.method() == v1::N_STEP_Q ? 1 : 0)
          .value;

  const FlatParameters::Recorded parameters = model_->network().parameters().Record();
  const at::Tensor a = batch.slices[UnrollSlice::kAction].flatten().to(at::kLong).unsqueeze(1);
  const at::Tensor q = model_->network()
                           .Forward(parameters.views, batch.slices[UnrollSlice::kObservation].flatten(0, 1))
                           .gather(1, a)
                           .view(y.sizes());
  const at::Tensor losses = ErrorLosses(options_.loss(), q, y);
  const at::Tensor steps = unroll.is_step.sum().clamp_min(1);
  const at::Tensor loss = (unroll.is_step * losses).sum() / steps;
  sink.Apply(0, {parameters.Gradient(loss)});
  metrics_.copy_(model_->Metrics(loss, (unroll.is_step * q.detach()).sum() / steps));
}

at::Tensor QLearning::NextValues(const Batch& batch) const {
  const at::Tensor& observation_only = batch.slices[UnrollSlice::kObservationOnly];
  const at::Tensor q = model_->target().Forward(batch.slices[UnrollSlice::kObservation].flatten(0, 1));
  const at::Tensor best = q.amax(1).view(observation_only.sizes());
  if (options_.method() != v1::ONE_STEP_SARSA) return best;
  const at::Tensor a = batch.slices[UnrollSlice::kAction].flatten().to(at::kLong).unsqueeze(1);
  const at::Tensor taken = q.gather(1, a).view(observation_only.sizes());
  return at::where(observation_only.to(at::kBool), best, taken);
}

absl::StatusOr<std::unique_ptr<Algorithm>> MakeQLearning(const v1::RunConfig& config,
                                                         const v1::EnvironmentSpec& environment) {
  ASSIGN_OR_RETURN(const at::Device device, ParseDevice(config.device()));
  const v1::QLearningOptions& options = config.q_learning();
  RandomStream random(config.seed(), StreamRole::kLearner, 0, StreamPurpose::kInitialization);
  ASSIGN_OR_RETURN(std::unique_ptr<QModel> model, QModel::Create(MakeQNetworkSpec(options.network(), environment),
                                                                 {.interval = options.target_update_interval()},
                                                                 QLearningExploration(config), device, random));
  return std::make_unique<QLearning>(options, std::move(model));
}

absl::StatusOr<std::unique_ptr<Policy>> MakeQLearningPolicy(const v1::RunConfig& config,
                                                            const v1::EnvironmentSpec& environment) {
  return EpsilonGreedyActor::Create(MakeQNetworkSpec(config.q_learning().network(), environment),
                                    QLearningExploration(config), /*log_probs=*/true);
}

}  // namespace headrace
