// Deep Q-networks with replay and a target network.
// Mnih et al., "Human-level control through deep reinforcement learning", 2015, algorithm 1. Double Q-learning: van
// Hasselt et al., arXiv:1509.06461.
#ifndef HEADRACE_ALGORITHM_DQN_H_
#define HEADRACE_ALGORITHM_DQN_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "algorithm/algorithm.h"
#include "model/q_network.h"
#include "proto/algorithm/dqn.pb.h"
#include "proto/algorithm/q_values.pb.h"

namespace headrace {

// Built from a configuration and environment that MakeDqnExperience accepts.
absl::StatusOr<std::unique_ptr<Algorithm>> MakeDqn(const v1::RunConfig& config, const v1::EnvironmentSpec& environment);
absl::StatusOr<std::unique_ptr<Policy>> MakeDqnPolicy(const v1::RunConfig& config,
                                                      const v1::EnvironmentSpec& environment);

class Dqn : public Algorithm {
 public:
  // Two networks of one make; `target` is given the parameters of the other.
  Dqn(const v1::DqnOptions& options, const v1::EpsilonGreedyOptions& exploration, std::unique_ptr<QNetwork> network,
      std::unique_ptr<QNetwork> target);

  std::vector<ParameterGroup> ParameterGroups() override;
  void Update(const Batch& batch, GradientSink& sink) override;

  std::vector<NamedTensor> PolicyTensors() const override;
  std::vector<NamedTensor> StateTensors() const override;
  const std::vector<std::string>& MetricNames() const override;
  at::Tensor Metrics() const override { return metrics_; }
  // |Q - y| and a little, so that nothing is never drawn again.
  at::Tensor Priorities() const override { return priorities_; }

 private:
  void UpdateTarget();

  const v1::DqnOptions options_;
  const v1::EpsilonGreedyOptions exploration_;
  const std::unique_ptr<QNetwork> network_;
  const std::unique_ptr<QNetwork> target_;
  at::Tensor epsilons_;  // with which actors explore, on the CPU
  at::Tensor updates_;   // []: done so far, on the CPU
  at::Tensor metrics_;
  at::Tensor priorities_;  // [B]; undefined without prioritised replay
};

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_DQN_H_
