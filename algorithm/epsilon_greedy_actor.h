// Acts on the values of discrete actions: with probability epsilon at random, otherwise as the network says is best.
//
// Not thread-safe.
#ifndef HEADRACE_ALGORITHM_EPSILON_GREEDY_ACTOR_H_
#define HEADRACE_ALGORITHM_EPSILON_GREEDY_ACTOR_H_

#include <cstddef>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "algorithm/algorithm.h"
#include "model/q_network.h"
#include "proto/algorithm/q_values.pb.h"

namespace headrace {

class EpsilonGreedyActor : public Policy {
 public:
  // log_probs: whether Act writes them. InvalidArgument: the network does not take such observations.
  static absl::StatusOr<std::unique_ptr<Policy>> Create(const QNetworkSpec& spec,
                                                        const v1::EpsilonGreedyOptions& exploration, bool log_probs);

  void Act(const at::Tensor& observations, ActMode mode, RandomStream& random, at::Tensor& recurrent_state,
           at::Tensor& actions, at::Tensor& log_probs) override;
  // The network's, and "epsilon": MakeEpsilons, of the learner's present progress.
  std::vector<NamedTensor> Tensors() const override;

 private:
  EpsilonGreedyActor(const QNetworkSpec& spec, const v1::EpsilonGreedyOptions& exploration, bool log_probs,
                     std::unique_ptr<QNetwork> network);

  const size_t actions_;
  const v1::EpsilonGreedyOptions exploration_;
  const bool log_probs_;
  const std::unique_ptr<QNetwork> network_;
  const at::Tensor epsilons_;
  std::vector<size_t> drawn_;  // which of the epsilons each lane has
};

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_EPSILON_GREEDY_ACTOR_H_
