// What algorithms that learn the values of actions learn with: the network, a target network that follows it at
// intervals, and the epsilons with which actors explore.
//
// Not thread-safe.
#ifndef HEADRACE_ALGORITHM_Q_MODEL_H_
#define HEADRACE_ALGORITHM_Q_MODEL_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "common/random.h"
#include "model/named_tensor.h"
#include "model/q_network.h"
#include "proto/algorithm/q_values.pb.h"

namespace headrace {

class QModel {
 public:
  // How the target network follows: after every `interval` updates it becomes (1 - tau) times what it is plus tau times
  // the network.
  struct Following {
    uint32_t interval = 1;
    double tau = 1;
  };
  // Both networks have the same parameters, drawn from `random`. InvalidArgument: as QNetwork::Create.
  static absl::StatusOr<std::unique_ptr<QModel>> Create(const QNetworkSpec& spec, const Following& following,
                                                        const v1::EpsilonGreedyOptions& exploration, at::Device device,
                                                        RandomStream& random);

  const QNetwork& network() const { return *network_; }
  const QNetwork& target() const { return *target_; }

  // Algorithm::AfterUpdate.
  void AfterUpdate(double progress);

  // Live: what actors load, and everything.
  std::vector<NamedTensor> PolicyTensors() const;
  std::vector<NamedTensor> StateTensors() const;

  // Algorithm::Metrics of an update with this loss and this mean of the values that it was of.
  static const std::vector<std::string>& MetricNames();
  at::Tensor Metrics(const at::Tensor& loss, const at::Tensor& q_mean) const;

 private:
  QModel(const Following& following, const v1::EpsilonGreedyOptions& exploration, std::unique_ptr<QNetwork> network,
         std::unique_ptr<QNetwork> target);

  const Following following_;
  const v1::EpsilonGreedyOptions exploration_;
  const std::unique_ptr<QNetwork> network_;
  const std::unique_ptr<QNetwork> target_;
  at::Tensor epsilons_;  // on the CPU
  at::Tensor updates_;   // []: done so far, on the CPU
};

// Of each value q, to its target y. Shaped like both.
at::Tensor ErrorLosses(v1::ErrorLoss loss, const at::Tensor& q, const at::Tensor& y);

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_Q_MODEL_H_
