#include "model/actor_critic_network.h"

#include <cmath>
#include <utility>

#include "ATen/ops/linear.h"
#include "common/check.h"
#include "common/status_macros.h"
#include "model/initialization.h"
#include "model/lstm.h"

namespace headrace {

absl::StatusOr<std::unique_ptr<ActorCriticNetwork>> ActorCriticNetwork::Create(const ActorCriticSpec& spec,
                                                                               bool with_value, at::Device device) {
  ASSIGN_OR_RETURN(std::unique_ptr<Torso> torso, MakeTorso(spec.network, spec.observation));
  return std::unique_ptr<ActorCriticNetwork>(new ActorCriticNetwork(spec, with_value, std::move(torso), device));
}

ActorCriticNetwork::ActorCriticNetwork(const ActorCriticSpec& spec, bool with_value, std::unique_ptr<Torso> torso,
                                       at::Device device)
    : spec_(spec),
      with_value_(with_value),
      features_(spec.network.lstm() > 0 ? spec.network.lstm() : torso->features()),
      torso_(std::move(torso)) {
  const bool shared = spec_.network.shared();
  HEADRACE_CHECK(shared || spec_.network.lstm() == 0);
  const auto add_torso = [&](const std::string& prefix) {
    for (const ParameterShape& parameter : torso_->parameters()) {
      shapes_.push_back({prefix + "/" + parameter.name, parameter.shape});
    }
  };
  const auto add_head = [&](const std::string& name, int64_t outputs) {
    shapes_.push_back({name + "/weight", {outputs, features_}});
    shapes_.push_back({name + "/bias", {outputs}});
  };
  add_torso(shared ? "torso" : "policy/torso");
  if (spec_.network.lstm() > 0) {
    for (const ParameterShape& parameter : LstmParameters(torso_->features(), spec_.network.lstm())) {
      shapes_.push_back({"lstm/" + parameter.name, parameter.shape});
    }
  }
  add_head("policy/head", spec_.actions);
  if (spec_.continuous) shapes_.push_back({"policy/log_std", {spec_.actions}});
  policy_tensors_ = shapes_.size();
  if (with_value_) {
    if (!shared) add_torso("value/torso");
    add_head("value/head", 1);
  }
  parameters_ = std::make_unique<FlatParameters>(shapes_, device);
}

void ActorCriticNetwork::Initialize(RandomStream& random) {
  for (size_t i = 0; i < shapes_.size(); ++i) {
    at::Tensor view = parameters_->views()[i];
    if (!shapes_[i].name.ends_with("/weight")) {
      view.zero_();
      if (shapes_[i].name == "lstm/bias") view.chunk(4)[1].fill_(1);
      continue;
    }
    const bool one = shapes_[i].name == "value/head/weight" || shapes_[i].name.starts_with("lstm/");
    const double gain = shapes_[i].name == "policy/head/weight" ? 0.01 : one ? 1 : std::sqrt(2.0);
    FillOrthogonal(view, gain, random);
  }
}

ActorCriticNetwork::Output ActorCriticNetwork::Forward(std::span<const at::Tensor> parameters,
                                                       const at::Tensor& observations, const at::Tensor& state,
                                                       const at::Tensor& ends) const {
  const size_t torso = torso_->parameters().size();
  const auto take = [&](size_t count) {
    const std::span<const at::Tensor> taken = parameters.first(count);
    parameters = parameters.subspan(count);
    return taken;
  };
  Output output;
  at::Tensor features = torso_->Forward(take(torso), observations);
  if (spec_.network.lstm() > 0) {
    const LstmOutput lstm = Lstm(take(3), features.view({state.size(0), -1, torso_->features()}), state, ends);
    features = lstm.hidden.flatten(0, 1);
    output.state = lstm.state;
  }
  const std::span<const at::Tensor> policy = take(2);
  output.policy = at::linear(features, policy[0], policy[1]);
  if (spec_.continuous) output.log_std = take(1)[0];
  if (!with_value_) return output;
  const at::Tensor value_features = spec_.network.shared() ? features : torso_->Forward(take(torso), observations);
  const std::span<const at::Tensor> value = take(2);
  output.value = at::linear(value_features, value[0], value[1]).squeeze(-1);
  return output;
}

std::vector<NamedTensor> ActorCriticNetwork::PolicyTensors(const std::string& prefix) const {
  std::vector<NamedTensor> named = parameters_->Named(prefix);
  named.resize(policy_tensors_);
  return named;
}

}  // namespace headrace
