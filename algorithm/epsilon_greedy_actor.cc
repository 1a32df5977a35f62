#include "algorithm/epsilon_greedy_actor.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "ATen/ops/empty.h"
#include "algorithm/epsilon_greedy.h"
#include "c10/core/InferenceMode.h"
#include "common/status_macros.h"

namespace headrace {

absl::StatusOr<std::unique_ptr<Policy>> EpsilonGreedyActor::Create(const QNetworkSpec& spec,
                                                                   const v1::EpsilonGreedyOptions& exploration,
                                                                   bool log_probs) {
  ASSIGN_OR_RETURN(std::unique_ptr<QNetwork> network, QNetwork::Create(spec, at::kCPU));
  return std::unique_ptr<Policy>(new EpsilonGreedyActor(spec, exploration, log_probs, std::move(network)));
}

EpsilonGreedyActor::EpsilonGreedyActor(const QNetworkSpec& spec, const v1::EpsilonGreedyOptions& exploration,
                                       bool log_probs, std::unique_ptr<QNetwork> network)
    : actions_(static_cast<size_t>(spec.actions)),
      exploration_(exploration),
      log_probs_(log_probs),
      network_(std::move(network)),
      epsilons_(MakeEpsilons(exploration, 0)) {}

void EpsilonGreedyActor::Act(const at::Tensor& observations, ActMode mode, RandomStream& random,
                             at::Tensor& /*recurrent_state*/, at::Tensor& actions, at::Tensor& log_probs) {
  const auto lanes = static_cast<size_t>(observations.size(0));
  if (!actions.defined() || actions.size(0) != observations.size(0)) {
    actions = at::empty({observations.size(0)}, at::kInt);
  }
  const int64_t reported = log_probs_ ? observations.size(0) : 0;
  if (!log_probs.defined() || log_probs.numel() != reported) log_probs = at::empty({reported}, at::kFloat);
  if (drawn_.size() != lanes) drawn_ = DrawEpsilons(exploration_, lanes, random);
  // Tensors made in inference mode could not be written to outside of it; those that are handed out are made before.
  const c10::InferenceMode no_autograd;
  const at::Tensor q = mode == ActMode::kRandom ? at::Tensor() : network_->Forward(observations).contiguous();
  const float* const epsilons = epsilons_.const_data_ptr<float>();
  int32_t* const chosen = actions.mutable_data_ptr<int32_t>();
  for (size_t lane = 0; lane < lanes; ++lane) {
    const float epsilon = mode == ActMode::kRandom ? 1 : mode == ActMode::kGreedy ? 0 : epsilons[drawn_[lane]];
    int32_t best = -1;
    if (q.defined()) {
      const std::span<const float> values(q.const_data_ptr<float>() + lane * actions_, actions_);
      best = static_cast<int32_t>(std::ranges::max_element(values) - values.begin());
    }
    const bool at_random = mode != ActMode::kGreedy && random.Uniform() < epsilon;
    chosen[lane] = at_random ? static_cast<int32_t>(random.Below(actions_)) : best;
    if (log_probs_) {
      const float probability = epsilon / static_cast<float>(actions_) + (chosen[lane] == best ? 1 - epsilon : 0);
      log_probs.mutable_data_ptr<float>()[lane] = std::log(probability);
    }
  }
}

std::vector<NamedTensor> EpsilonGreedyActor::Tensors() const {
  std::vector<NamedTensor> tensors = network_->parameters().Named("network");
  tensors.push_back({"epsilon", epsilons_});
  return tensors;
}

}  // namespace headrace
