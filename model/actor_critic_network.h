// A policy and a value of the same observation: two heads of one torso, or two networks.
//
// With NetworkOptions.lstm the torso's features go through an LSTM. What such a network carries from one row of a lane
// to the next, its state, is given and returned like everything else: [lanes, StateSize], zeros where an episode
// begins.
//
// The parameters of the policy come first, so that what actors need is a network of the policy alone.
//
// Not thread-safe.
#ifndef HEADRACE_MODEL_ACTOR_CRITIC_NETWORK_H_
#define HEADRACE_MODEL_ACTOR_CRITIC_NETWORK_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "common/random.h"
#include "model/action_distribution.h"
#include "model/flat_parameters.h"
#include "model/torso.h"
#include "proto/algorithm/network.pb.h"

namespace headrace {

struct ActorCriticSpec {
  v1::NetworkOptions network;
  std::vector<int64_t> observation;  // shape
  int64_t actions = 0;               // how many, or their dimensions where continuous
  bool continuous = false;
};

// Of one lane; 0: the network is not recurrent.
inline int64_t StateSize(const v1::NetworkOptions& network) { return 2 * static_cast<int64_t>(network.lstm()); }

class ActorCriticNetwork {
 public:
  // Zeros. InvalidArgument: the torso does not take such observations. A recurrent one must be `shared`.
  static absl::StatusOr<std::unique_ptr<ActorCriticNetwork>> Create(const ActorCriticSpec& spec, bool with_value,
                                                                    at::Device device);

  // Orthogonal, with gain sqrt(2), 0.01 for the policy's head and 1 for the value's; biases and log_std zero: what PPO
  // and A2C are commonly run with (Stable-Baselines3, CleanRL). An LSTM: gain 1, and a forget gate that begins open,
  // with bias 1 (Jozefowicz et al., "An Empirical Exploration of Recurrent Network Architectures", 2015).
  void Initialize(RandomStream& random);

  struct Output {
    at::Tensor policy;   // [B, actions]: logits, or means
    at::Tensor log_std;  // [actions] where continuous
    at::Tensor value;    // [B]; undefined in a network without one
    at::Tensor state;    // [lanes, StateSize] for the row after the last one; undefined in one without an LSTM

    // actions: [B] or, where continuous, [B, actions].
    ActionLikelihood Likelihood(const at::Tensor& actions_taken) const {
      return log_std.defined() ? GaussianLikelihood(policy, log_std, actions_taken)
                               : CategoricalLikelihood(policy, actions_taken);
    }
    // Of such a likelihood.
    PolicyGradient Backward(const ActionLikelihood& likelihood, const at::Tensor& actions_taken,
                            const at::Tensor& log_prob_gradient, const at::Tensor& entropy_gradient) const {
      return log_std.defined() ? GaussianBackward(likelihood, log_std, log_prob_gradient, entropy_gradient)
                               : CategoricalBackward(likelihood, actions_taken, log_prob_gradient, entropy_gradient);
    }
  };
  // observations: [B, shape...]. `parameters`: parameters().views(), or those of parameters().Record().
  // With an LSTM the B rows are those of the lanes one after the other, equally many of each; `state` is for the first
  // of each, and `ends` [lanes, rows of each] has 1 where a row is an episode's last (undefined: none is).
  Output Forward(std::span<const at::Tensor> parameters, const at::Tensor& observations, const at::Tensor& state = {},
                 const at::Tensor& ends = {}) const;
  Output Forward(const at::Tensor& observations, const at::Tensor& state = {}, const at::Tensor& ends = {}) const {
    return Forward(parameters_->views(), observations, state, ends);
  }

  const ActorCriticSpec& spec() const { return spec_; }
  const Torso& torso() const { return *torso_; }
  FlatParameters& parameters() { return *parameters_; }
  const FlatParameters& parameters() const { return *parameters_; }
  // Those that policy and log_std depend on: the first of all.
  std::vector<NamedTensor> PolicyTensors(const std::string& prefix) const;

 private:
  ActorCriticNetwork(const ActorCriticSpec& spec, bool with_value, std::unique_ptr<Torso> torso, at::Device device);

  const ActorCriticSpec spec_;
  const bool with_value_;
  const int64_t features_;              // that the heads are given
  const std::unique_ptr<Torso> torso_;  // of the same make for both, where they are two networks
  size_t policy_tensors_ = 0;
  std::vector<ParameterShape> shapes_;
  std::unique_ptr<FlatParameters> parameters_;
};

}  // namespace headrace

#endif  // HEADRACE_MODEL_ACTOR_CRITIC_NETWORK_H_
