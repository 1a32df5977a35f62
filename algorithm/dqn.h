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
#include "algorithm/q_model.h"
#include "proto/algorithm/dqn.pb.h"

namespace headrace {

// Built from a configuration and environment that MakeDqnExperience accepts.
absl::StatusOr<std::unique_ptr<Algorithm>> MakeDqn(const v1::RunConfig& config, const v1::EnvironmentSpec& environment);
absl::StatusOr<std::unique_ptr<Policy>> MakeDqnPolicy(const v1::RunConfig& config,
                                                      const v1::EnvironmentSpec& environment);

class Dqn : public Algorithm {
 public:
  Dqn(const v1::DqnOptions& options, std::unique_ptr<QModel> model);

  std::vector<ParameterGroup> ParameterGroups() override;
  void Update(const Batch& batch, GradientSink& sink) override;
  void AfterUpdate(double progress) override { model_->AfterUpdate(progress); }

  std::vector<NamedTensor> PolicyTensors() const override { return model_->PolicyTensors(); }
  std::vector<NamedTensor> StateTensors() const override { return model_->StateTensors(); }
  const std::vector<std::string>& MetricNames() const override { return QModel::MetricNames(); }
  at::Tensor Metrics() const override { return metrics_; }
  // |Q - y| and a little, so that nothing is never drawn again.
  at::Tensor Priorities() const override { return priorities_; }

 private:
  const v1::DqnOptions options_;
  const std::unique_ptr<QModel> model_;
  at::Tensor metrics_;
  at::Tensor priorities_;  // [B]; undefined without prioritised replay
};

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_DQN_H_
