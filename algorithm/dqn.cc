#include "algorithm/dqn.h"

#include <utility>

#include "ATen/TensorOperators.h"
#include "ATen/ops/huber_loss.h"
#include "ATen/ops/stack.h"
#include "ATen/ops/zeros.h"
#include "algorithm/epsilon_greedy.h"
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

Dqn::Dqn(const v1::DqnOptions& options, const v1::EpsilonGreedyOptions& exploration, std::unique_ptr<QNetwork> network,
         std::unique_ptr<QNetwork> target)
    : options_(options),
      exploration_(exploration),
      network_(std::move(network)),
      target_(std::move(target)),
      epsilons_(MakeEpsilons(exploration, 0)),
      updates_(at::zeros({}, at::kLong)),
      metrics_(at::zeros({static_cast<int64_t>(MetricNames().size())}, network_->parameters().flat().options())) {
  target_->parameters().flat().copy_(network_->parameters().flat());
}

std::vector<ParameterGroup> Dqn::ParameterGroups() {
  return {{"network", {network_->parameters().flat()}, options_.optimizer()}};
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
  const at::Tensor target_q = target_->Forward(next_o);
  const at::Tensor y = options_.double_q()
                           ? DoubleQTarget(sum.reward, sum.discount, target_q, network_->Forward(next_o))
                           : QTarget(sum.reward, sum.discount, target_q);

  const FlatParameters::Recorded parameters = network_->parameters().Record();
  const at::Tensor q = network_->Forward(parameters.views, o).gather(1, a).squeeze(1);
  at::Tensor losses = options_.loss() == v1::HUBER ? at::huber_loss(q, y, at::Reduction::None) : 0.5 * (q - y).square();
  if (batch.weights.defined()) losses = losses * batch.weights;
  const at::Tensor loss = losses.mean();
  sink.Apply(0, {parameters.Gradient(loss)});
  if (options_.prioritized_replay().enabled()) priorities_ = (q.detach() - y).abs_().add_(kLeastPriority);

  UpdateTarget();
  epsilons_.copy_(MakeEpsilons(exploration_, batch.progress));
  metrics_.copy_(at::stack({loss.detach(), q.detach().mean(), epsilons_.mean().to(q.device())}));
}

void Dqn::UpdateTarget() {
  updates_.add_(1);
  if (updates_.item<int64_t>() % options_.target_update_interval() != 0) return;
  target_->parameters().flat().lerp_(network_->parameters().flat(), options_.tau());
}

std::vector<NamedTensor> Dqn::PolicyTensors() const {
  std::vector<NamedTensor> tensors = network_->parameters().Named("network");
  tensors.push_back({"epsilon", epsilons_});
  return tensors;
}

std::vector<NamedTensor> Dqn::StateTensors() const {
  std::vector<NamedTensor> tensors = PolicyTensors();
  for (NamedTensor& tensor : target_->parameters().Named("target_network")) tensors.push_back(std::move(tensor));
  tensors.push_back({"updates", updates_});
  return tensors;
}

const std::vector<std::string>& Dqn::MetricNames() const {
  static const auto* const names = new std::vector<std::string>{"losses/value", "charts/q_mean", "charts/epsilon"};
  return *names;
}

absl::StatusOr<std::unique_ptr<Algorithm>> MakeDqn(const v1::RunConfig& config,
                                                   const v1::EnvironmentSpec& environment) {
  ASSIGN_OR_RETURN(const at::Device device, ParseDevice(config.device()));
  const QNetworkSpec spec = MakeQNetworkSpec(config.dqn().network(), environment);
  ASSIGN_OR_RETURN(std::unique_ptr<QNetwork> network, QNetwork::Create(spec, device));
  ASSIGN_OR_RETURN(std::unique_ptr<QNetwork> target, QNetwork::Create(spec, device));
  RandomStream random(config.seed(), StreamRole::kLearner, 0, StreamPurpose::kInitialization);
  network->Initialize(random);
  return std::make_unique<Dqn>(config.dqn(), DqnExploration(config), std::move(network), std::move(target));
}

absl::StatusOr<std::unique_ptr<Policy>> MakeDqnPolicy(const v1::RunConfig& config,
                                                      const v1::EnvironmentSpec& environment) {
  return EpsilonGreedyActor::Create(MakeQNetworkSpec(config.dqn().network(), environment), DqnExploration(config),
                                    /*log_probs=*/false);
}

}  // namespace headrace
