#include "algorithm/actor_critic_actor.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "ATen/ops/empty.h"
#include "ATen/ops/zeros.h"
#include "c10/core/InferenceMode.h"
#include "common/status_macros.h"

namespace headrace {

absl::StatusOr<std::unique_ptr<Policy>> ActorCriticActor::Create(const ActorCriticSpec& spec,
                                                                 bool normalize_observations) {
  ASSIGN_OR_RETURN(std::unique_ptr<ActorCriticModel> model,
                   ActorCriticModel::Create(spec, false, normalize_observations, at::kCPU));
  return std::unique_ptr<Policy>(new ActorCriticActor(std::move(model)));
}

void ActorCriticActor::Act(const at::Tensor& observations, ActMode mode, RandomStream& random,
                           at::Tensor& recurrent_state, at::Tensor& actions, at::Tensor& log_probs) {
  const ActorCriticSpec& spec = model_->spec();
  const int64_t lanes = observations.size(0);
  if (!log_probs.defined() || log_probs.numel() != lanes) log_probs = at::zeros({lanes}, at::kFloat);
  if (!actions.defined() || actions.size(0) != lanes) {
    actions = spec.continuous ? at::empty({lanes, spec.actions}, at::kFloat) : at::empty({lanes}, at::kInt);
  }
  // Tensors made in inference mode could not be written to outside of it; those that are handed out are made before.
  const c10::InferenceMode no_autograd;
  const std::span<float> log_prob_values(log_probs.mutable_data_ptr<float>(), lanes);
  const ActorCriticNetwork::Output output = model_->network().Forward(model_->Inputs(observations), recurrent_state);
  if (output.state.defined()) recurrent_state.copy_(output.state);
  const at::Tensor policy = output.policy.contiguous();
  const auto width = static_cast<size_t>(spec.actions);
  const std::span<const float> policy_values(policy.const_data_ptr<float>(), policy.numel());
  if (!spec.continuous) {
    const std::span<int32_t> chosen(actions.mutable_data_ptr<int32_t>(), lanes);
    for (size_t lane = 0; lane < chosen.size(); ++lane) {
      const std::span<const float> logits = policy_values.subspan(lane * width, width);
      if (mode == ActMode::kGreedy) {
        chosen[lane] = MostLikely(logits);
      } else if (mode == ActMode::kRandom) {
        chosen[lane] = static_cast<int32_t>(random.Uniform() * static_cast<double>(width));
        log_prob_values[lane] = -std::log(static_cast<float>(width));
      } else {
        const DiscreteSample sample = SampleCategorical(logits, random);
        chosen[lane] = sample.action;
        log_prob_values[lane] = sample.log_prob;
      }
    }
    return;
  }
  const std::span<float> chosen(actions.mutable_data_ptr<float>(), actions.numel());
  if (mode == ActMode::kGreedy) {
    std::ranges::copy(policy_values, chosen.begin());
    return;
  }
  if (mode == ActMode::kRandom) {
    for (float& action : chosen) action = static_cast<float>(random.Uniform(-1, 1));
    std::ranges::fill(log_prob_values, -static_cast<float>(width) * std::log(2.0f));
    return;
  }
  noise_.resize(chosen.size());
  random.FillNormal(noise_);
  const std::span<const float> log_std(output.log_std.const_data_ptr<float>(), width);
  for (size_t lane = 0; lane < static_cast<size_t>(lanes); ++lane) {
    const size_t first = lane * width;
    log_prob_values[lane] = SampleGaussian(policy_values.subspan(first, width), log_std,
                                           std::span(noise_).subspan(first, width), chosen.subspan(first, width));
  }
}

std::vector<NamedTensor> ActorCriticActor::Tensors() const { return model_->PolicyTensors(); }

}  // namespace headrace
