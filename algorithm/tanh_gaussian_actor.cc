#include "algorithm/tanh_gaussian_actor.h"

#include <cmath>
#include <span>

#include "ATen/ops/empty.h"
#include "c10/core/InferenceMode.h"
#include "model/tanh_gaussian.h"

namespace headrace {
namespace {

// outputs: rows of mu and what log sigma is made of; noise: rows of standard normals; actions: rows of tanh(u).
void SquashSamples(std::span<const float> outputs, std::span<const float> noise, size_t dimensions,
                   std::span<float> actions) {
  constexpr float kMiddle = kLogSigmaMin + kLogSigmaHalfRange;
  constexpr float kHalfRange = kLogSigmaHalfRange;
  for (size_t row = 0; row < actions.size() / dimensions; ++row) {
    const float* mean = outputs.data() + 2 * row * dimensions;
    const float* bound = mean + dimensions;
    for (size_t i = 0; i < dimensions; ++i) {
      const float sigma = std::exp(kMiddle + kHalfRange * std::tanh(bound[i]));
      actions[row * dimensions + i] = std::tanh(mean[i] + sigma * noise[row * dimensions + i]);
    }
  }
}

void SquashMeans(std::span<const float> outputs, size_t dimensions, std::span<float> actions) {
  for (size_t i = 0; i < actions.size(); ++i) {
    actions[i] = std::tanh(outputs[2 * (i / dimensions) * dimensions + i % dimensions]);
  }
}

}  // namespace

TanhGaussianActor::TanhGaussianActor(const TanhGaussianPolicySpec& spec, bool normalize_observations)
    : spec_(spec), parameters_(MlpParameters::Zeros(spec.network(), at::kCPU)) {
  if (normalize_observations) normalizer_.emplace(spec.observation, at::kCPU);
}

void TanhGaussianActor::Act(const at::Tensor& observations, ActMode mode, RandomStream& random, at::Tensor&,
                            at::Tensor& actions, at::Tensor& log_probs) {
  const int64_t lanes = observations.size(0);
  const size_t dimensions = static_cast<size_t>(spec_.action);
  if (!log_probs.defined() || log_probs.numel() != 0) log_probs = at::empty({0}, at::kFloat);
  if (!actions.defined() || actions.size(0) != lanes) actions = at::empty({lanes, spec_.action}, at::kFloat);
  // Tensors made in inference mode could not be written to outside of it; those that are handed out are made before.
  const c10::InferenceMode no_autograd;
  const std::span<float> action_values(actions.mutable_data_ptr<float>(), actions.numel());
  if (mode == ActMode::kRandom) {
    for (float& action : action_values) action = static_cast<float>(random.Uniform(-1, 1));
    return;
  }

  at::Tensor s = observations.view({lanes, spec_.observation});
  if (normalizer_) normalizer_->Normalize(s = s.clone());
  const at::Tensor& output = pass_.Forward(parameters_, s);
  const std::span<const float> output_values(output.const_data_ptr<float>(), output.numel());
  if (mode == ActMode::kGreedy) {
    SquashMeans(output_values, dimensions, action_values);
  } else {
    noise_.resize(action_values.size());
    random.FillNormal(noise_);
    SquashSamples(output_values, noise_, dimensions, action_values);
  }
}

std::vector<NamedTensor> TanhGaussianActor::Tensors() const {
  std::vector<NamedTensor> tensors = parameters_.Named("actor");
  if (normalizer_) {
    for (NamedTensor& tensor : normalizer_->Named("normalizer")) tensors.push_back(tensor);
  }
  return tensors;
}

}  // namespace headrace
