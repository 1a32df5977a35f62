#include "algorithm/q_learning.h"

#include <utility>

#include "ATen/TensorOperators.h"
#include "ATen/ops/huber_loss.h"
#include "ATen/ops/stack.h"
#include "ATen/ops/where.h"
#include "ATen/ops/zeros.h"
#include "algorithm/epsilon_greedy.h"
#include "algorithm/epsilon_greedy_actor.h"
#include "algorithm/q_experience.h"
#include "algorithm/target/v_trace.h"
#include "algorithm/unroll_experience.h"
#include "common/random.h"
#include "common/status_macros.h"
#include "model/device.h"

namespace headrace {

QLearning::QLearning(const v1::QLearningOptions& options, const v1::EpsilonGreedyOptions& exploration,
                     std::unique_ptr<QNetwork> network, std::unique_ptr<QNetwork> target)
    : options_(options),
      exploration_(exploration),
      network_(std::move(network)),
      target_(std::move(target)),
      epsilons_(MakeEpsilons(exploration, 0)),
      updates_(at::zeros({}, at::kLong)),
      metrics_(at::zeros({static_cast<int64_t>(MetricNames().size())}, network_->parameters().flat().options())) {
  target_->parameters().flat().copy_(network_->parameters().flat());
}

std::vector<ParameterGroup> QLearning::ParameterGroups() {
  return {{"network", {network_->parameters().flat()}, options_.optimizer()}};
}

void QLearning::Update(const Batch& batch, GradientSink& sink) {
  const UnrollTensors unroll =
      MakeUnrollTensors(batch, options_.discount(), /*reward_scale=*/1, options_.reward_clip());
  // y_t = r_t + discount_t y_{t+1}, or one step of it: what generalised advantages add up to with lambda 1, or 0.
  const at::Tensor y =
      MakeGeneralizedAdvantage({unroll.reward, unroll.discount, unroll.is_step, NextValues(batch), /*log_rho=*/{}},
                               /*lambda=*/options_.method() == v1::N_STEP_Q ? 1 : 0)
          .value;

  const FlatParameters::Recorded parameters = network_->parameters().Record();
  const at::Tensor a = batch.slices[UnrollSlice::kAction].flatten().to(at::kLong).unsqueeze(1);
  const at::Tensor q = network_->Forward(parameters.views, batch.slices[UnrollSlice::kObservation].flatten(0, 1))
                           .gather(1, a)
                           .view(y.sizes());
  const at::Tensor losses =
      options_.loss() == v1::HUBER ? at::huber_loss(q, y, at::Reduction::None) : 0.5 * (q - y).square();
  const at::Tensor steps = unroll.is_step.sum().clamp_min(1);
  const at::Tensor loss = (unroll.is_step * losses).sum() / steps;
  sink.Apply(0, {parameters.Gradient(loss)});

  const at::Tensor q_mean = (unroll.is_step * q.detach()).sum() / steps;
  metrics_.copy_(at::stack({loss.detach(), q_mean, epsilons_.mean().to(q.device())}));
}

at::Tensor QLearning::NextValues(const Batch& batch) const {
  const at::Tensor& observation_only = batch.slices[UnrollSlice::kObservationOnly];
  const at::Tensor q = target_->Forward(batch.slices[UnrollSlice::kObservation].flatten(0, 1));
  const at::Tensor best = q.amax(1).view(observation_only.sizes());
  if (options_.method() != v1::ONE_STEP_SARSA) return best;
  const at::Tensor a = batch.slices[UnrollSlice::kAction].flatten().to(at::kLong).unsqueeze(1);
  const at::Tensor taken = q.gather(1, a).view(observation_only.sizes());
  return at::where(observation_only.to(at::kBool), best, taken);
}

void QLearning::AfterUpdate(double progress) {
  epsilons_.copy_(MakeEpsilons(exploration_, progress));
  updates_.add_(1);
  if (updates_.item<int64_t>() % options_.target_update_interval() != 0) return;
  target_->parameters().flat().copy_(network_->parameters().flat());
}

std::vector<NamedTensor> QLearning::PolicyTensors() const {
  std::vector<NamedTensor> tensors = network_->parameters().Named("network");
  tensors.push_back({"epsilon", epsilons_});
  return tensors;
}

std::vector<NamedTensor> QLearning::StateTensors() const {
  std::vector<NamedTensor> tensors = PolicyTensors();
  for (NamedTensor& tensor : target_->parameters().Named("target_network")) tensors.push_back(std::move(tensor));
  tensors.push_back({"updates", updates_});
  return tensors;
}

const std::vector<std::string>& QLearning::MetricNames() const {
  static const auto* const names = new std::vector<std::string>{"losses/value", "charts/q_mean", "charts/epsilon"};
  return *names;
}

absl::StatusOr<std::unique_ptr<Algorithm>> MakeQLearning(const v1::RunConfig& config,
                                                         const v1::EnvironmentSpec& environment) {
  ASSIGN_OR_RETURN(const at::Device device, ParseDevice(config.device()));
  const QNetworkSpec spec = MakeQNetworkSpec(config.q_learning().network(), environment);
  ASSIGN_OR_RETURN(std::unique_ptr<QNetwork> network, QNetwork::Create(spec, device));
  ASSIGN_OR_RETURN(std::unique_ptr<QNetwork> target, QNetwork::Create(spec, device));
  RandomStream random(config.seed(), StreamRole::kLearner, 0, StreamPurpose::kInitialization);
  network->Initialize(random);
  return std::make_unique<QLearning>(config.q_learning(), QLearningExploration(config), std::move(network),
                                     std::move(target));
}

absl::StatusOr<std::unique_ptr<Policy>> MakeQLearningPolicy(const v1::RunConfig& config,
                                                            const v1::EnvironmentSpec& environment) {
  return EpsilonGreedyActor::Create(MakeQNetworkSpec(config.q_learning().network(), environment),
                                    QLearningExploration(config), /*log_probs=*/true);
}

}  // namespace headrace
