#include "algorithm/dqn.h"

#include <utility>

#include "ATen/TensorOperators.h"
#include "ATen/ops/zeros.h"
#include "algorithm/epsilon_greedy_actor.h"
#include "algorithm/q_experience.h"
#include "algorithm/target/n_step_return.h"
#include "algorithm/target/q_target.h"
#include "algorithm/transition_experience.h"
#include "common/random.h"
#include "common/status_macros.h"
#include "model/device.h"

namespace headrace {
namespace {

constexpr double kLeastPriority = 1e-6;

}  // namespace

Dqn::Dqn(const v1::DqnOptions& options, std::unique_ptr<QModel> model)
    : options_(options),
      model_(std::move(model)),
      metrics_(
          at::zeros({static_cast<int64_t>(MetricNames().size())}, model_->network().parameters().flat().options())) {}

std::vector<ParameterGroup> Dqn::ParameterGroups() {
  return {{"network", {model_->network().parameters().flat()}, options_.optimizer()}};
}

void Dqn::Update(const Batch& batch, GradientSink& sink) {
  const at::Tensor o = batch.slices[TransitionSlice::kObservation].select(1, 0);
  const at::Tensor next_o = batch.slices[TransitionSlice::kObservation].select(1, 1);
  const at::Tensor a = batch.slices[TransitionSlice::kAction].to(at::kLong);  // [B, 1]
  at::Tensor r = batch.slices[TransitionSlice::kReward];                      // [B, n]
  if (options_.reward_clip() > 0) r = r.clamp(-options_.reward_clip(), options_.reward_clip());

  // y = sum_{i<n} discount^i r_i + discount^n (1 - terminated) Q'(o', a'), without derivatives.
  const NStepReturn sum =
      MakeNStepReturn(r, batch.slices[TransitionSlice::kTerminated], batch.rows, options_.discount());
  const at::Tensor target_q = model_->target().Forward(next_o);
  const at::Tensor y = options_.double_q()
                           ? DoubleQTarget(sum.reward, sum.discount, target_q, model_->network().Forward(next_o))
                           : QTarget(sum.reward, sum.discount, target_q);

  const FlatParameters::Recorded parameters = model_->network().parameters().Record();
  const at::Tensor q = model_->network().Forward(parameters.views, o).gather(1, a).squeeze(1);
  at::Tensor losses = ErrorLosses(options_.loss(), q, y);
  if (batch.weights.defined()) losses = losses * batch.weights;
  const at::Tensor loss = losses.mean();
  sink.Apply(0, {parameters.Gradient(loss)});
  if (options_.prioritized_replay().enabled()) priorities_ = (q.detach() - y).abs_().add_(kLeastPriority);
  metrics_.copy_(model_->Metrics(loss, q.detach().mean()));
}

absl::StatusOr<std::unique_ptr<Algorithm>> MakeDqn(const v1::RunConfig& config,
                                                   const v1::EnvironmentSpec& environment) {
  ASSIGN_OR_RETURN(const at::Device device, ParseDevice(config.device()));
  const v1::DqnOptions& options = config.dqn();
  RandomStream random(config.seed(), StreamRole::kLearner, 0, StreamPurpose::kInitialization);
  ASSIGN_OR_RETURN(std::unique_ptr<QModel> model,
                   QModel::Create(MakeQNetworkSpec(options.network(), environment),
                                  {.interval = options.target_update_interval(), .tau = options.tau()},
                                  DqnExploration(config), device, random));
  return std::make_unique<Dqn>(options, std::move(model));
}

absl::StatusOr<std::unique_ptr<Policy>> MakeDqnPolicy(const v1::RunConfig& config,
                                                      const v1::EnvironmentSpec& environment) {
  return EpsilonGreedyActor::Create(MakeQNetworkSpec(config.dqn().network(), environment), DqnExploration(config),
                                    /*log_probs=*/false);
}

}  // namespace headrace
