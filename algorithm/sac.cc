#include "algorithm/sac.h"

#include <cmath>
#include <exception>
#include <utility>

#include "ATen/ops/full.h"
#include "ATen/ops/stack.h"
#include "ATen/ops/zeros.h"
#include "absl/strings/str_cat.h"
#include "algorithm/loss/soft_actor_loss.h"
#include "algorithm/loss/temperature_loss.h"
#include "algorithm/loss/temporal_difference_loss.h"
#include "algorithm/sac_experience.h"
#include "algorithm/tanh_gaussian_actor.h"
#include "algorithm/target/n_step_return.h"
#include "algorithm/target/soft_q_target.h"
#include "algorithm/transition_experience.h"
#include "c10/core/InferenceMode.h"
#include "c10/util/Exception.h"
#include "common/random.h"
#include "common/status_macros.h"
#include "model/device.h"
#include "model/initialization.h"

namespace headrace {
namespace {

enum Group : size_t { kCritic, kActor, kTemperature };

constexpr double kLeastPriority = 1e-6;

// What belongs to o_t and what to o_{t+1}, of a tensor whose first dimension holds first the one, then the other.
std::pair<at::Tensor, at::Tensor> Halves(const at::Tensor& both) {
  const int64_t half = both.size(0) / 2;
  return {both.narrow(0, 0, half), both.narrow(0, half, half)};
}

QEnsembleSpec CriticSpec(const TanhGaussianPolicySpec& policy) {
  return {.observation = policy.observation, .action = policy.action, .hidden = policy.hidden, .members = 2};
}

v1::OptimizerOptions Adam(double learning_rate) {
  v1::OptimizerOptions options;
  options.set_kind(v1::ADAM);
  options.set_learning_rate(learning_rate);
  return options;
}

double TargetEntropy(const v1::SacOptions& options, int64_t actions) {
  return options.has_target_entropy() ? options.target_entropy() : -static_cast<double>(actions);
}

}  // namespace

Sac::Sac(const v1::SacOptions& options, const TanhGaussianPolicySpec& spec, at::Device device, uint64_t seed)
    : options_(options),
      spec_(spec),
      batch_size_(options.batch_size()),
      target_entropy_(TargetEntropy(options, spec.action)),
      policy_(spec, device),
      critics_(CriticSpec(spec), device),
      target_critics_(MlpParameters::Zeros(critics_.parameters().spec, device)),
      log_alpha_(at::full({}, std::log(options.initial_temperature()), policy_.parameters().flat.options())),
      generator_(NewGenerator(device, RandomStream(seed, StreamRole::kLearner, 0, StreamPurpose::kUpdate).Bits64())),
      observations_(at::zeros({2, batch_size_, spec.observation}, log_alpha_.options())),
      noise_(at::zeros({2 * batch_size_, spec.action}, log_alpha_.options())),
      generator_state_(generator_.get_state()),
      metrics_(at::zeros({static_cast<int64_t>(MetricNames().size())}, log_alpha_.options())) {
  RandomStream random(seed, StreamRole::kLearner, 0, StreamPurpose::kInitialization);
  InitializeFanInUniform(policy_.parameters(), random);
  InitializeFanInUniform(critics_.parameters(), random);
  target_critics_.flat.copy_(critics_.parameters().flat);
  if (options.normalize_observations()) normalizer_.emplace(spec.observation, device);
}

std::vector<ParameterGroup> Sac::ParameterGroups() {
  std::vector<ParameterGroup> groups = {
      {"critic", {critics_.parameters().flat}, Adam(options_.critic_learning_rate())},
      {"actor", {policy_.parameters().flat}, Adam(options_.actor_learning_rate())},
  };
  if (options_.automatic_temperature()) {
    groups.push_back({"temperature", {log_alpha_}, Adam(options_.temperature_learning_rate())});
  }
  return groups;
}

void Sac::Update(const Batch& batch, GradientSink& sink) {
  noise_.normal_(0, 1, generator_);
  UpdateWithNoise(batch, noise_, sink);
}

void Sac::UpdateWithNoise(const Batch& batch, const at::Tensor& noise, GradientSink& sink) {
  const c10::InferenceMode no_autograd;
  LoadObservations(batch.slices[TransitionSlice::kObservation]);
  const at::Tensor s = observations_[0], next_s = observations_[1];
  const at::Tensor a = batch.slices[TransitionSlice::kAction].view({batch_size_, spec_.action});
  const at::Tensor r = batch.slices[TransitionSlice::kReward].mul(options_.reward_scale());  // [B, n]
  const NStepReturn target =
      MakeNStepReturn(r, batch.slices[TransitionSlice::kTerminated], batch.rows, options_.discount());
  const at::Tensor alpha = log_alpha_.exp();  // as it was before this update, for critics and policy

  // a~ ~ pi(.|s) and a' ~ pi(.|s') in one pass: the policy changes only after both are used.
  const TanhGaussianSample& sample = policy_.Sample(observations_.flatten(0, 1), noise);
  const auto [new_a, next_a] = Halves(sample.action);
  const auto [log_prob, next_log_prob] = Halves(sample.log_prob);

  // Critics: y = sum_{i<n} discount^i r_i + discount^n (1 - terminated) (min_i Q'_i(s', a') - alpha log pi(a'|s')).
  const at::Tensor next_q = critics_.Evaluate(target_critics_, next_s, next_a);
  const at::Tensor y = SoftQTarget(target.reward, target.discount, next_q, alpha, next_log_prob);
  const at::Tensor q = critics_.Evaluate(s, a);
  const TemporalDifferenceLoss critic = SquaredTemporalDifferenceLoss(q, y, batch.weights);
  if (options_.prioritized_replay().enabled()) priorities_ = critic.error.abs().mean(0).add_(kLeastPriority);
  const at::Tensor q_mean =
      q.mean();  // now: the next evaluation takes the memory of q, as this one took that of next_q
  sink.Apply(kCritic, {critics_.ParameterGradient(critic.q_gradient)});

  // Policy: minimise alpha log pi(a~|s) - min_i Q_i(s, a~), with the critics just stepped.
  const SoftActorLoss actor = MinimumSoftActorLoss(alpha, log_prob, critics_.Evaluate(s, new_a));
  const at::Tensor& action_gradient = critics_.ActionGradient(actor.q_gradient);
  sink.Apply(kActor, {policy_.ParameterGradient(action_gradient, actor.log_prob_gradient)});

  // Temperature: towards the target entropy.
  const TemperatureLoss temperature = LogTemperatureLoss(log_alpha_, log_prob, target_entropy_);
  if (options_.automatic_temperature()) sink.Apply(kTemperature, {temperature.log_temperature_gradient});

  // Target networks: Q' <- (1 - tau) Q' + tau Q.
  target_critics_.flat.lerp_(critics_.parameters().flat, options_.tau());

  at::stack_out(metrics_, {critic.loss, actor.loss, temperature.loss, alpha, log_prob.mean().neg_(), q_mean});
}

void Sac::LoadObservations(const at::Tensor& observations) {
  TORCH_CHECK(observations.size(0) == batch_size_ && observations.size(1) == 2, "expected a batch of ", batch_size_,
              " transitions, got observations of shape ", observations.sizes());
  observations_.copy_(observations.view({batch_size_, 2, spec_.observation}).transpose(0, 1));
  if (normalizer_) normalizer_->Normalize(observations_);
}

void Sac::SetObservationMoments(const v1::Moments& moments) {
  if (normalizer_) normalizer_->SetMoments(moments);
}

std::vector<NamedTensor> Sac::PolicyTensors() const {
  std::vector<NamedTensor> tensors = policy_.parameters().Named("actor");
  if (normalizer_) {
    for (NamedTensor& tensor : normalizer_->Named("normalizer")) tensors.push_back(std::move(tensor));
  }
  return tensors;
}

std::vector<NamedTensor> Sac::StateTensors() const {
  std::vector<NamedTensor> tensors = PolicyTensors();
  for (NamedTensor& tensor : critics_.parameters().Named("critics")) tensors.push_back(std::move(tensor));
  for (NamedTensor& tensor : target_critics_.Named("target_critics")) tensors.push_back(std::move(tensor));
  tensors.push_back({"log_temperature", log_alpha_});
  at::Tensor(generator_state_).copy_(generator_.get_state());
  tensors.push_back({"generator", generator_state_});
  return tensors;
}

absl::Status Sac::StateLoaded() {
  try {
    generator_.set_state(generator_state_);
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat("the state of sac's random generator is not usable: ", error.what()));
  }
  return absl::OkStatus();
}

const std::vector<std::string>& Sac::MetricNames() const {
  static const auto* const names = new std::vector<std::string>{
      "losses/critic", "losses/actor", "losses/temperature", "charts/temperature", "charts/entropy", "charts/q_mean"};
  return *names;
}

absl::StatusOr<std::unique_ptr<Algorithm>> MakeSac(const v1::RunConfig& config,
                                                   const v1::EnvironmentSpec& environment) {
  ASSIGN_OR_RETURN(const at::Device device, ParseDevice(config.device()));
  return std::make_unique<Sac>(config.sac(), SacPolicySpec(config, environment), device, config.seed());
}

absl::StatusOr<std::unique_ptr<Policy>> MakeSacPolicy(const v1::RunConfig& config,
                                                      const v1::EnvironmentSpec& environment) {
  return std::make_unique<TanhGaussianActor>(SacPolicySpec(config, environment), config.sac().normalize_observations());
}

}  // namespace headrace
