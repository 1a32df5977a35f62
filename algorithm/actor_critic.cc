#include "algorithm/actor_critic.h"

#include <cmath>

#include "ATen/TensorOperators.h"
#include "ATen/ops/full_like.h"
#include "ATen/ops/logaddexp.h"
#include "ATen/ops/ones_like.h"
#include "ATen/ops/stack.h"
#include "ATen/ops/zeros.h"
#include "algorithm/actor_critic_actor.h"
#include "algorithm/actor_critic_experience.h"
#include "algorithm/target/v_trace.h"
#include "algorithm/unroll_experience.h"
#include "c10/core/InferenceMode.h"
#include "common/random.h"
#include "common/status_macros.h"
#include "model/device.h"

namespace headrace {
namespace {

const double kLogEpsilon = std::log(1e-6);  // added to probabilities: Babaeizadeh et al., arXiv:1611.06256, equation 4

}  // namespace

ActorCritic::ActorCritic(const v1::ActorCriticOptions& options, std::unique_ptr<ActorCriticModel> model)
    : options_(options),
      model_(std::move(model)),
      pass_(ActorCriticPass::Create(model_->network())),
      metrics_(
          at::zeros({static_cast<int64_t>(MetricNames().size())}, model_->network().parameters().flat().options())) {}

std::vector<ParameterGroup> ActorCritic::ParameterGroups() {
  return {{"network", {model_->network().parameters().flat()}, options_.optimizer()}};
}

at::Tensor ActorCritic::RecurrentState(const Batch& batch) const {
  if (options_.network().lstm() == 0) return {};
  const at::Tensor recorded = batch.slices[UnrollSlice::kRecurrentState].select(1, 0);
  if (options_.burn_in() == 0) return recorded;
  return model_->network()
      .Forward(model_->Inputs(batch.slices[UnrollSlice::kBurnInObservation].flatten(0, 1)), recorded,
               batch.slices[UnrollSlice::kBurnInObservationOnly].to(at::kFloat))
      .state;
}

void ActorCritic::Update(const Batch& batch, GradientSink& sink) {
  const c10::InferenceMode no_autograd;
  const UnrollTensors unroll =
      MakeUnrollTensors(batch, options_.discount(), options_.reward_scale(), options_.reward_clip());
  const at::IntArrayRef shape = unroll.reward.sizes();  // [B, R]
  const ActorCriticNetwork::Output output =
      pass_->Forward(model_->Inputs(batch.slices[UnrollSlice::kObservation].flatten(0, 1)), RecurrentState(batch),
                     batch.slices[UnrollSlice::kObservationOnly].to(at::kFloat));
  const at::Tensor actions = batch.slices[UnrollSlice::kAction].flatten(0, 1);
  const ActionLikelihood likelihood = output.Likelihood(actions);
  const at::Tensor value = output.value.view(shape);
  const at::Tensor log_prob = likelihood.log_prob.view(shape) * unroll.is_step;  // 0 where nothing was done
  const at::Tensor entropy = unroll.is_step * likelihood.entropy.view(shape);

  // pi / mu, and with them v_t and the advantages.
  const at::Tensor log_rho = options_.correction() == v1::V_TRACE ? log_prob - batch.slices[UnrollSlice::kLogProb]
                                                                  : at::zeros(shape, value.options());
  const VTraceTarget target =
      MakeVTrace({unroll.reward, unroll.discount, unroll.is_step, value, log_rho},
                 {options_.lambda(), options_.rho_bar(), options_.c_bar(), options_.policy_rho_bar()});

  // L = sum_t -log pi A + value_coefficient (v - V)^2 / 2 - entropy_coefficient H, and its derivatives by log pi, V, H.
  const at::Tensor error = unroll.is_step * (value - target.value);
  at::Tensor log_pi = log_prob, by_log_prob = -target.advantage;
  if (options_.correction() == v1::EPSILON) {
    // log(pi + epsilon) and pi / (pi + epsilon), without pi itself: densities may be more than a float32 holds.
    log_pi = at::logaddexp(log_prob, at::full_like(log_prob, kLogEpsilon));
    by_log_prob = by_log_prob * (log_prob - kLogEpsilon).sigmoid();
  }
  const at::Tensor steps = unroll.is_step.sum().clamp_min(1);
  const at::Tensor scale = options_.reduction() == v1::MEAN ? steps.reciprocal() : at::ones_like(steps);
  const PolicyGradient gradient = output.Backward(likelihood, actions, (by_log_prob * scale).flatten(),
                                                  (unroll.is_step * scale * -options_.entropy_coefficient()).flatten());
  sink.Apply(0, {pass_->Backward({.policy = gradient.policy,
                                  .log_std = gradient.log_std,
                                  .value = (error * scale * options_.value_coefficient()).flatten()})});

  const at::Tensor policy_loss = -(log_pi * target.advantage).sum();
  const at::Tensor value_loss = 0.5 * error.square().sum();
  const at::Tensor rho = ((log_rho * unroll.is_step).exp() * unroll.is_step).sum();
  metrics_.copy_(at::stack({policy_loss, value_loss, entropy.sum(), rho}).div_(steps));
}

const std::vector<std::string>& ActorCritic::MetricNames() const {
  static const auto* const names =
      new std::vector<std::string>{"losses/policy", "losses/value", "charts/entropy", "charts/importance_ratio"};
  return *names;
}

absl::StatusOr<std::unique_ptr<Algorithm>> MakeActorCritic(const v1::RunConfig& config,
                                                           const v1::EnvironmentSpec& environment) {
  ASSIGN_OR_RETURN(const at::Device device, ParseDevice(config.device()));
  const v1::ActorCriticOptions& options = config.actor_critic();
  ASSIGN_OR_RETURN(std::unique_ptr<ActorCriticModel> model,
                   ActorCriticModel::Create(MakeActorCriticSpec(options.network(), environment), true,
                                            options.normalize_observations(), device));
  RandomStream random(config.seed(), StreamRole::kLearner, 0, StreamPurpose::kInitialization);
  model->network().Initialize(random);
  return std::make_unique<ActorCritic>(options, std::move(model));
}

absl::StatusOr<std::unique_ptr<Policy>> MakeActorCriticPolicy(const v1::RunConfig& config,
                                                              const v1::EnvironmentSpec& environment) {
  const v1::ActorCriticOptions& options = config.actor_critic();
  return ActorCriticActor::Create(MakeActorCriticSpec(options.network(), environment),
                                  options.normalize_observations());
}

}  // namespace headrace
