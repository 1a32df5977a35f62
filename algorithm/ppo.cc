#include "algorithm/ppo.h"

#include <cmath>
#include <exception>
#include <utility>

#include "ATen/TensorOperators.h"
#include "ATen/core/grad_mode.h"
#include "ATen/ops/chunk.h"
#include "ATen/ops/max.h"
#include "ATen/ops/randperm.h"
#include "ATen/ops/stack.h"
#include "ATen/ops/zeros.h"
#include "absl/strings/str_cat.h"
#include "algorithm/actor_critic_actor.h"
#include "algorithm/actor_critic_experience.h"
#include "algorithm/target/v_trace.h"
#include "algorithm/unroll_experience.h"
#include "common/random.h"
#include "common/status_macros.h"
#include "model/device.h"

namespace headrace {
namespace {

constexpr double kRewardClip = 10;  // of normalised rewards
constexpr double kVarianceFloor = 1e-8;
constexpr double kStdFloor = 1e-8;  // of advantages
constexpr size_t kKl = 3;           // where the metrics of a minibatch have the divergence

}  // namespace

Ppo::Ppo(const v1::PpoOptions& options, std::unique_ptr<ActorCriticModel> model, uint64_t seed)
    : options_(options),
      model_(std::move(model)),
      generator_(NewGenerator(at::kCPU, RandomStream(seed, StreamRole::kLearner, 0, StreamPurpose::kUpdate).Bits64())),
      generator_state_(generator_.get_state()),
      metrics_(
          at::zeros({static_cast<int64_t>(MetricNames().size())}, model_->network().parameters().flat().options())) {}

std::vector<ParameterGroup> Ppo::ParameterGroups() {
  return {{"network", {model_->network().parameters().flat()}, options_.optimizer()}};
}

void Ppo::Update(const Batch& batch, GradientSink& sink) {
  const Steps steps = MakeSteps(batch);
  const int64_t count = steps.advantage.size(0);
  const double clip = options_.clip() * (options_.anneal_clip() ? std::max(1e-8, 1 - batch.progress) : 1);
  at::Tensor sum = at::zeros_like(metrics_);
  int64_t minibatches = 0;
  bool stopped = false;
  for (uint32_t epoch = 0; epoch < options_.epochs() && !stopped && count > 0; ++epoch) {
    const at::Tensor order = at::randperm(count, generator_, at::kLong).to(steps.advantage.device());
    for (const at::Tensor& indices : order.chunk(options_.minibatches())) {
      const bool all = indices.size(0) == count;  // then their order has no part in it, but in the last bits of sums
      const at::Tensor metrics = StepOnce(all ? steps : steps.At(indices), clip, sink);
      sum.add_(metrics);
      ++minibatches;
      if (options_.target_kl() > 0 && metrics[kKl].item<double>() > 1.5 * options_.target_kl()) {
        stopped = true;
        break;
      }
    }
  }
  metrics_.copy_(sum.div_(std::max<int64_t>(1, minibatches)));
  if (pending_moments_.count() > 0) model_->SetObservationMoments(std::exchange(pending_moments_, {}));
}

Ppo::Steps Ppo::MakeSteps(const Batch& batch) const {
  const at::NoGradGuard no_autograd;
  const UnrollTensors unroll =
      MakeUnrollTensors(batch, options_.discount(), reward_scale_, options_.normalize_rewards() ? kRewardClip : 0);
  Steps rows;
  rows.inputs = model_->Inputs(batch.slices[UnrollSlice::kObservation].flatten(0, 1));
  const at::Tensor value = model_->network().Forward(rows.inputs).value.view(unroll.reward.sizes());
  const VTraceTarget target = MakeGeneralizedAdvantage(
      {unroll.reward, unroll.discount, unroll.is_step, value, /*log_rho=*/{}}, options_.lambda());
  rows.action = batch.slices[UnrollSlice::kAction].flatten(0, 1);
  rows.log_prob = batch.slices[UnrollSlice::kLogProb].flatten();
  rows.advantage = target.advantage.flatten();
  rows.target = target.value.flatten();
  rows.value = value.flatten();
  return rows.At(unroll.is_step.flatten().nonzero().squeeze(1));
}

Ppo::Steps Ppo::Steps::At(const at::Tensor& indices) const {
  const auto at = [&](const at::Tensor& tensor) { return tensor.index_select(0, indices); };
  return {at(inputs), at(action), at(log_prob), at(advantage), at(target), at(value)};
}

at::Tensor Ppo::StepOnce(const Steps& minibatch, double clip, GradientSink& sink) {
  const FlatParameters::Recorded parameters = model_->network().parameters().Record();
  const ActorCriticNetwork::Output output = model_->network().Forward(parameters.views, minibatch.inputs);
  const ActionLikelihood likelihood = output.Likelihood(minibatch.action);
  at::Tensor advantage = minibatch.advantage;
  if (options_.normalize_advantages() && advantage.size(0) > 1) {
    advantage = (advantage - advantage.mean()) / (advantage.std() + kStdFloor);
  }

  // L_pi = mean max(-A ratio, -A clip(ratio, 1 - clip, 1 + clip)), ratio = pi / pi_old.
  const at::Tensor log_ratio = likelihood.log_prob - minibatch.log_prob;
  const at::Tensor ratio = log_ratio.exp();
  const at::Tensor policy_loss = at::max(-advantage * ratio, -advantage * ratio.clamp(1 - clip, 1 + clip)).mean();
  at::Tensor value_error = (output.value - minibatch.target).square();
  if (options_.has_value_clip()) {
    const at::Tensor change = (output.value - minibatch.value).clamp(-options_.value_clip(), options_.value_clip());
    value_error = at::max(value_error, (minibatch.value + change - minibatch.target).square());
  }
  const at::Tensor value_loss = value_error.mean();
  const at::Tensor entropy = likelihood.entropy.mean();
  const at::Tensor loss =
      policy_loss + options_.value_coefficient() * value_loss - options_.entropy_coefficient() * entropy;
  sink.Apply(0, {parameters.Gradient(loss)});

  const at::NoGradGuard no_autograd;
  const at::Tensor divergence = (ratio - 1 - log_ratio).mean();  // Schulman, "Approximating KL divergence", 2020
  const at::Tensor clipped = ((ratio - 1).abs() > clip).to(at::kFloat).mean();
  return at::stack({policy_loss, value_loss, entropy, divergence, clipped});
}

void Ppo::SetObservationMoments(const v1::Moments& moments) { pending_moments_ = moments; }

void Ppo::SetReturnMoments(const v1::Moments& moments) {
  if (moments.count() < 2 || moments.m2_size() != 1) return;
  reward_scale_ = 1 / std::sqrt(moments.m2(0) / moments.count() + kVarianceFloor);
}

std::vector<NamedTensor> Ppo::StateTensors() const {
  std::vector<NamedTensor> tensors = model_->AllTensors();
  at::Tensor(generator_state_).copy_(generator_.get_state());
  tensors.push_back({"generator", generator_state_});
  return tensors;
}

absl::Status Ppo::StateLoaded() {
  try {
    at::Generator(generator_).set_state(generator_state_);
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat("the state of ppo's random generator is not usable: ", error.what()));
  }
  return absl::OkStatus();
}

const std::vector<std::string>& Ppo::MetricNames() const {
  static const auto* const names = new std::vector<std::string>{"losses/policy", "losses/value", "charts/entropy",
                                                                "charts/approx_kl", "charts/clip_fraction"};
  return *names;
}

absl::StatusOr<std::unique_ptr<Algorithm>> MakePpo(const v1::RunConfig& config,
                                                   const v1::EnvironmentSpec& environment) {
  ASSIGN_OR_RETURN(const at::Device device, ParseDevice(config.device()));
  const v1::PpoOptions& options = config.ppo();
  ASSIGN_OR_RETURN(std::unique_ptr<ActorCriticModel> model,
                   ActorCriticModel::Create(MakeActorCriticSpec(options.network(), environment), true,
                                            options.normalize_observations(), device));
  RandomStream random(config.seed(), StreamRole::kLearner, 0, StreamPurpose::kInitialization);
  model->network().Initialize(random);
  return std::make_unique<Ppo>(options, std::move(model), config.seed());
}

absl::StatusOr<std::unique_ptr<Policy>> MakePpoPolicy(const v1::RunConfig& config,
                                                      const v1::EnvironmentSpec& environment) {
  const v1::PpoOptions& options = config.ppo();
  return ActorCriticActor::Create(MakeActorCriticSpec(options.network(), environment),
                                  options.normalize_observations());
}

}  // namespace headrace
