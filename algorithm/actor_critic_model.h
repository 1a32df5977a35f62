// The network of an actor-critic algorithm with the normaliser in front of it, as learner and actors both have it.
//
// Not thread-safe.
#ifndef HEADRACE_ALGORITHM_ACTOR_CRITIC_MODEL_H_
#define HEADRACE_ALGORITHM_ACTOR_CRITIC_MODEL_H_

#include <memory>
#include <optional>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "model/actor_critic_network.h"
#include "model/named_tensor.h"
#include "model/normalizer.h"
#include "proto/run.pb.h"

namespace headrace {

class ActorCriticModel {
 public:
  // with_value: false where only the policy is needed. InvalidArgument: the network does not take such observations.
  static absl::StatusOr<std::unique_ptr<ActorCriticModel>> Create(const ActorCriticSpec& spec, bool with_value,
                                                                  bool normalize_observations, at::Device device);

  const ActorCriticSpec& spec() const { return spec_; }
  ActorCriticNetwork& network() { return *network_; }
  // What the network is given of raw observations [B, shape...].
  at::Tensor Inputs(const at::Tensor& observations) const;
  // In effect from the next Inputs on.
  void SetObservationMoments(const v1::Moments& moments);

  // Live: what actors load, and everything.
  std::vector<NamedTensor> PolicyTensors() const;
  std::vector<NamedTensor> AllTensors() const;

 private:
  ActorCriticModel(const ActorCriticSpec& spec, std::unique_ptr<ActorCriticNetwork> network)
      : spec_(spec), network_(std::move(network)) {}

  void AddNormalizer(std::vector<NamedTensor>& tensors) const;

  const ActorCriticSpec spec_;
  const std::unique_ptr<ActorCriticNetwork> network_;
  std::optional<Normalizer> normalizer_;
};

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_ACTOR_CRITIC_MODEL_H_
