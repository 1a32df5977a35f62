#include "model/actor_critic_pass.h"

#include <utility>
#include <vector>

#include "ATen/core/grad_mode.h"
#include "ATen/ops/stack.h"
#include "c10/core/InferenceMode.h"
#include "model/flat_parameters.h"
#include "model/mlp.h"

namespace headrace {
namespace {

using Output = ActorCriticNetwork::Output;

// Autograd takes no tensors that were made in inference mode.
at::Tensor ForAutograd(const at::Tensor& tensor) {
  return tensor.defined() && tensor.is_inference() ? tensor.clone() : tensor;
}

class RecordedPass final : public ActorCriticPass {
 public:
  explicit RecordedPass(const ActorCriticNetwork& network) : network_(network) {}

  Output Forward(const at::Tensor& observations, const at::Tensor& state, const at::Tensor& ends) override {
    const c10::InferenceMode recorded(false);
    const at::AutoGradMode autograd(true);
    recorded_ = network_.parameters().Record();
    output_ = network_.Forward(recorded_.views, ForAutograd(observations), ForAutograd(state), ForAutograd(ends));
    Output plain = {.policy = output_.policy.detach(), .log_std = {}, .value = output_.value.detach(), .state = {}};
    if (output_.log_std.defined()) plain.log_std = output_.log_std.detach();
    if (output_.state.defined()) plain.state = output_.state.detach();
    return plain;
  }

  at::Tensor Backward(const OutputGradient& gradient) override {
    const c10::InferenceMode recorded(false);
    std::vector<at::Tensor> outputs = {output_.policy, output_.value};
    std::vector<at::Tensor> gradients = {ForAutograd(gradient.policy), ForAutograd(gradient.value)};
    if (output_.log_std.defined()) {
      outputs.push_back(output_.log_std);
      gradients.push_back(ForAutograd(gradient.log_std));
    }
    return recorded_.Gradient(outputs, gradients);
  }

 private:
  const ActorCriticNetwork& network_;
  FlatParameters::Recorded recorded_;
  Output output_;
};

// Hidden layers of `torso`; two torsos, those of policy and value, are the members of an ensemble.
MlpSpec TorsoSpec(const ActorCriticSpec& spec, const Torso& torso) {
  MlpSpec mlp = {.inputs = torso.parameters().front().shape[1],
                 .outputs = torso.features(),
                 .members = spec.network.shared() ? 1 : 2,
                 .activation = spec.network.activation() == v1::TANH ? Activation::kTanh : Activation::kRelu,
                 .activate_outputs = true};
  for (size_t i = 0; i + 2 < torso.parameters().size(); i += 2) {
    mlp.hidden.push_back(torso.parameters()[i].shape[0]);
  }
  return mlp;
}

// The parameters of such a network from `first` on, where each layer has a weight [out, in] and a bias [out]. Those of
// the second member, if there is one, lie as far behind those of the first as `second` lies behind `first`.
MlpParameters ViewOf(const FlatParameters& parameters, const MlpSpec& spec, size_t first, size_t second) {
  MlpParameters mlp = {.spec = spec, .flat = {}, .layers = {}};
  const std::vector<at::Tensor>& views = parameters.views();
  const int64_t distance = views[second].storage_offset() - views[first].storage_offset();
  for (size_t i = 0; i <= spec.hidden.size(); ++i) {
    const at::Tensor& weight = views[first + 2 * i];
    const at::Tensor& bias = views[first + 2 * i + 1];
    const int64_t out = weight.size(0), in = weight.size(1);
    mlp.layers.push_back({.weight = weight.as_strided({spec.members, in, out}, {distance, 1, in}),
                          .bias = bias.as_strided({spec.members, 1, out}, {distance, out, 1})});
  }
  return mlp;
}

// A network of hidden layers, as three: hidden layers, and the heads of policy and value.
struct Layers {
  Layers(const ActorCriticNetwork& network, const FlatParameters& parameters) {
    const ActorCriticSpec& spec = network.spec();
    const size_t torso_size = network.torso().parameters().size();
    const size_t second_torso = spec.network.shared() ? 0 : torso_size + (spec.continuous ? 3 : 2);
    const size_t value_head = parameters.views().size() - 2;
    const auto head = [&](size_t first, int64_t outputs) {
      return ViewOf(parameters, {.inputs = network.torso().features(), .outputs = outputs}, first, first);
    };
    torso = ViewOf(parameters, TorsoSpec(spec, network.torso()), 0, second_torso);
    policy = head(torso_size, spec.actions);
    value = head(value_head, 1);
    if (spec.continuous) log_std = parameters.views()[torso_size + 2];
  }

  MlpParameters torso, policy, value;
  at::Tensor log_std;
};

class WrittenOutPass final : public ActorCriticPass {
 public:
  explicit WrittenOutPass(const ActorCriticNetwork& network)
      : gradient_(network.parameters().ZerosLike()),
        layers_(network, network.parameters()),
        layer_gradients_(network, gradient_) {}

  Output Forward(const at::Tensor& observations, const at::Tensor& state, const at::Tensor& ends) override {
    const int64_t rows = observations.size(0);
    const at::Tensor& features =
        torso_.Forward(layers_.torso, observations.reshape({rows, layers_.torso.spec.inputs}).to(at::kFloat));
    return {.policy = policy_.Forward(layers_.policy, features[0])[0],
            .log_std = layers_.log_std,
            .value = value_.Forward(layers_.value, features[features.size(0) - 1]).view({rows}),
            .state = {}};
  }

  at::Tensor Backward(const OutputGradient& gradient) override {
    const int64_t members = layers_.torso.spec.members, features = layers_.torso.spec.outputs;
    const at::Tensor by_policy = gradient.policy.unsqueeze(0), by_value = gradient.value.view({1, -1, 1});
    policy_.BackwardParameters(layers_.policy, by_policy, layer_gradients_.policy);
    value_.BackwardParameters(layers_.value, by_value, layer_gradients_.value);
    if (layers_.log_std.defined()) layer_gradients_.log_std.copy_(gradient.log_std);
    const at::Tensor& policy_part = policy_.BackwardInput(layers_.policy, by_policy, 0, features);
    const at::Tensor& value_part = value_.BackwardInput(layers_.value, by_value, 0, features);
    torso_.BackwardParameters(
        layers_.torso, members == 1 ? policy_part.add(value_part).unsqueeze(0) : at::stack({policy_part, value_part}),
        layer_gradients_.torso);
    return gradient_.flat();
  }

 private:
  const FlatParameters gradient_;
  const Layers layers_;
  Layers layer_gradients_;  // views of gradient_
  MlpPass torso_, policy_, value_;
};

}  // namespace

std::unique_ptr<ActorCriticPass> ActorCriticPass::Create(const ActorCriticNetwork& network) {
  const v1::NetworkOptions& options = network.spec().network;
  if (options.torso() == v1::MLP && options.lstm() == 0) return std::make_unique<WrittenOutPass>(network);
  return std::make_unique<RecordedPass>(network);
}

}  // namespace headrace
