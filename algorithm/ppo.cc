#include "algorithm/ppo.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <optional>
#include <utility>

#include "ATen/TensorOperators.h"
#include "ATen/ops/full.h"
#include "ATen/ops/randperm.h"
#include "ATen/ops/stack.h"
#include "ATen/ops/std_mean.h"
#include "ATen/ops/zeros.h"
#include "absl/strings/str_cat.h"
#include "algorithm/actor_critic_actor.h"
#include "algorithm/actor_critic_experience.h"
#include "algorithm/loss/clipped_loss.h"
#include "algorithm/target/v_trace.h"
#include "algorithm/unroll_experience.h"
#include "c10/core/InferenceMode.h"
#include "common/random.h"
#include "common/status_macros.h"
#include "model/device.h"

namespace headrace {
namespace {

constexpr double kRewardClip = 10;  // of normalised rewards
constexpr double kVarianceFloor = 1e-8;
constexpr double kStdFloor = 1e-8;  // of advantages

}  // namespace

Ppo::Ppo(const v1::PpoOptions& options, std::unique_ptr<ActorCriticModel> model, uint64_t seed)
    : options_(options),
      model_(std::move(model)),
      pass_(ActorCriticPass::Create(model_->network())),
      generator_(NewGenerator(at::kCPU, RandomStream(seed, StreamRole::kLearner, 0, StreamPurpose::kUpdate).Bits64())),
      generator_state_(generator_.get_state()),
      metrics_(
          at::zeros({static_cast<int64_t>(MetricNames().size())}, model_->network().parameters().flat().options())) {}

std::vector<ParameterGroup> Ppo::ParameterGroups() {
  return {{"network", {model_->network().parameters().flat()}, options_.optimizer()}};
}

void Ppo::Update(const Batch& batch, GradientSink& sink) {
  const c10::InferenceMode no_autograd;
  const Steps steps = MakeSteps(batch);
  const int64_t count = steps.advantage.size(0);
  const int64_t size = (count + options_.minibatches() - 1) / options_.minibatches();
  const double clip = options_.clip() * (options_.anneal_clip() ? std::max(1e-8, 1 - batch.progress) : 1);
  at::Tensor sum = at::zeros_like(metrics_);
  int64_t minibatches = 0;
  bool near = true;
  for (uint32_t epoch = 0; epoch < options_.epochs() && near; ++epoch) {
    // Of one minibatch the order has no part in it, but in the last bits of sums.
    const Steps shuffled = size == count ? steps : steps.At(RandomOrder(count));
    for (int64_t first = 0; first < count && near; first += size) {
      near = StepOnce(shuffled.Narrow(first, std::min(size, count - first)), clip, sink, sum);
      ++minibatches;
    }
  }
  metrics_.copy_(sum.div_(std::max<int64_t>(1, minibatches)));
  if (pending_moments_.count() > 0) model_->SetObservationMoments(std::exchange(pending_moments_, {}));
}

at::Tensor Ppo::RandomOrder(int64_t count) { return at::randperm(count, generator_, at::kLong).to(metrics_.device()); }

Ppo::Steps Ppo::MakeSteps(const Batch& batch) const {
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

Ppo::Steps Ppo::Steps::Narrow(int64_t first, int64_t count) const {
  const auto narrow = [&](const at::Tensor& tensor) { return tensor.narrow(0, first, count); };
  return {narrow(inputs), narrow(action), narrow(log_prob), narrow(advantage), narrow(target), narrow(value)};
}

bool Ppo::StepOnce(const Steps& minibatch, double clip, GradientSink& sink, at::Tensor& sum) {
  const ActorCriticNetwork::Output output = pass_->Forward(minibatch.inputs);
  const ActionLikelihood likelihood = output.Likelihood(minibatch.action);
  at::Tensor advantage = minibatch.advantage;
  const int64_t count = advantage.size(0);
  if (options_.normalize_advantages() && count > 1) {
    const auto [std, mean] = at::std_mean(advantage, /*unbiased=*/true);
    advantage = (advantage - mean).div_(std + kStdFloor);
  }

  // L = L_policy + value_coefficient L_value - entropy_coefficient mean H.
  const ClippedPolicyLoss policy = MakeClippedPolicyLoss(likelihood.log_prob, minibatch.log_prob, advantage, clip);
  const ValueLoss value =
      MakeValueLoss(output.value, minibatch.value, minibatch.target,
                    options_.has_value_clip() ? std::optional<double>(options_.value_clip()) : std::nullopt);
  sum.add_(at::stack({policy.loss, value.loss, likelihood.entropy.mean(), policy.divergence, policy.clipped}));
  if (options_.target_kl() > 0 && policy.divergence.item<double>() > 1.5 * options_.target_kl()) return false;
  const at::Tensor entropy_gradient =
      at::full({count}, -options_.entropy_coefficient() / static_cast<double>(count), advantage.options());
  const PolicyGradient gradient =
      output.Backward(likelihood, minibatch.action, policy.log_prob_gradient, entropy_gradient);
  sink.Apply(0, {pass_->Backward({.policy = gradient.policy,
                                  .log_std = gradient.log_std,
                                  .value = value.value_gradient * options_.value_coefficient()})});
  return true;
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
