// The values of discrete actions, Q(o, a) of every a at once: a torso with one linear head.
//
// Not thread-safe.
#ifndef HEADRACE_MODEL_Q_NETWORK_H_
#define HEADRACE_MODEL_Q_NETWORK_H_

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "common/random.h"
#include "model/flat_parameters.h"
#include "model/torso.h"
#include "proto/algorithm/network.pb.h"

namespace headrace {

struct QNetworkSpec {
  v1::NetworkOptions network;
  std::vector<int64_t> observation;  // shape
  int64_t actions = 0;
};

class QNetwork {
 public:
  // Zeros. InvalidArgument: the torso does not take such observations.
  static absl::StatusOr<std::unique_ptr<QNetwork>> Create(const QNetworkSpec& spec, at::Device device);

  // Fan-in uniform: what DQN is commonly run with (LibTorch's own default).
  void Initialize(RandomStream& random);

  // observations: [B, shape...]. `parameters`: parameters().views(), or those of parameters().Record(). Returns
  // [B, actions].
  at::Tensor Forward(std::span<const at::Tensor> parameters, const at::Tensor& observations) const;
  at::Tensor Forward(const at::Tensor& observations) const { return Forward(parameters_.views(), observations); }

  const FlatParameters& parameters() const { return parameters_; }

 private:
  QNetwork(std::unique_ptr<Torso> torso, FlatParameters parameters)
      : torso_(std::move(torso)), parameters_(std::move(parameters)) {}

  const std::unique_ptr<Torso> torso_;
  const FlatParameters parameters_;
};

}  // namespace headrace

#endif  // HEADRACE_MODEL_Q_NETWORK_H_
