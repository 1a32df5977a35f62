#include "algorithm/actor_critic_model.h"

#include <functional>
#include <numeric>
#include <utility>

#include "common/status_macros.h"

namespace headrace {

absl::StatusOr<std::unique_ptr<ActorCriticModel>> ActorCriticModel::Create(const ActorCriticSpec& spec, bool with_value,
                                                                           bool normalize_observations,
                                                                           at::Device device) {
  ASSIGN_OR_RETURN(std::unique_ptr<ActorCriticNetwork> network, ActorCriticNetwork::Create(spec, with_value, device));
  std::unique_ptr<ActorCriticModel> model(new ActorCriticModel(spec, std::move(network)));
  if (normalize_observations) {
    const int64_t elements =
        std::accumulate(spec.observation.begin(), spec.observation.end(), int64_t{1}, std::multiplies<int64_t>());
    model->normalizer_.emplace(elements, device);
  }
  return model;
}

at::Tensor ActorCriticModel::Inputs(const at::Tensor& observations) const {
  if (!normalizer_) return observations;
  at::Tensor inputs = observations.flatten(1).clone();
  normalizer_->Normalize(inputs);
  return inputs.view(observations.sizes());
}

void ActorCriticModel::SetObservationMoments(const v1::Moments& moments) {
  if (normalizer_) normalizer_->SetMoments(moments);
}

std::vector<NamedTensor> ActorCriticModel::PolicyTensors() const {
  std::vector<NamedTensor> tensors = network_->PolicyTensors("network");
  AddNormalizer(tensors);
  return tensors;
}

std::vector<NamedTensor> ActorCriticModel::AllTensors() const {
  std::vector<NamedTensor> tensors = network_->parameters().Named("network");
  AddNormalizer(tensors);
  return tensors;
}

void ActorCriticModel::AddNormalizer(std::vector<NamedTensor>& tensors) const {
  if (!normalizer_) return;
  for (NamedTensor& tensor : normalizer_->Named("normalizer")) tensors.push_back(std::move(tensor));
}

}  // namespace headrace
