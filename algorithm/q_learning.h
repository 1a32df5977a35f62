// Q-learning and Sarsa over unrolls, each step used once, with a target network.
// Mnih et al., "Asynchronous Methods for Deep Reinforcement Learning", arXiv:1602.01783, algorithms 1, S1 and S2.
#ifndef HEADRACE_ALGORITHM_Q_LEARNING_H_
#define HEADRACE_ALGORITHM_Q_LEARNING_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "algorithm/algorithm.h"
#include "algorithm/q_model.h"
#include "proto/algorithm/q_learning.pb.h"

namespace headrace {

// Built from a configuration and environment that MakeQLearningExperience accepts.
absl::StatusOr<std::unique_ptr<Algorithm>> MakeQLearning(const v1::RunConfig& config,
                                                         const v1::EnvironmentSpec& environment);
absl::StatusOr<std::unique_ptr<Policy>> MakeQLearningPolicy(const v1::RunConfig& config,
                                                            const v1::EnvironmentSpec& environment);

class QLearning : public Algorithm {
 public:
  QLearning(const v1::QLearningOptions& options, std::unique_ptr<QModel> model);

  std::vector<ParameterGroup> ParameterGroups() override;
  void Update(const Batch& batch, GradientSink& sink) override;
  void AfterUpdate(double progress) override { model_->AfterUpdate(progress); }

  std::vector<NamedTensor> PolicyTensors() const override { return model_->PolicyTensors(); }
  std::vector<NamedTensor> StateTensors() const override { return model_->StateTensors(); }
  const std::vector<std::string>& MetricNames() const override { return QModel::MetricNames(); }
  at::Tensor Metrics() const override { return metrics_; }

 private:
  // What the step into each row is told that row is worth, by the target network. [B, R]
  at::Tensor NextValues(const Batch& batch) const;

  const v1::QLearningOptions options_;
  const std::unique_ptr<QModel> model_;
  at::Tensor metrics_;
};

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_Q_LEARNING_H_
