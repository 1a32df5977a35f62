// Advantage actor-critic with V-trace.
// Espeholt et al., "IMPALA: Scalable Distributed Deep-RL with Importance Weighted Actor-Learner Architectures",
// arXiv:1802.01561. Without its correction: Mnih et al., "Asynchronous Methods for Deep Reinforcement Learning",
// arXiv:1602.01783, algorithm S3.
#ifndef HEADRACE_ALGORITHM_ACTOR_CRITIC_H_
#define HEADRACE_ALGORITHM_ACTOR_CRITIC_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "algorithm/actor_critic_model.h"
#include "algorithm/algorithm.h"
#include "model/actor_critic_pass.h"
#include "proto/algorithm/actor_critic.pb.h"

namespace headrace {

// Built from a configuration and environment that MakeActorCriticExperience accepts.
absl::StatusOr<std::unique_ptr<Algorithm>> MakeActorCritic(const v1::RunConfig& config,
                                                           const v1::EnvironmentSpec& environment);
absl::StatusOr<std::unique_ptr<Policy>> MakeActorCriticPolicy(const v1::RunConfig& config,
                                                              const v1::EnvironmentSpec& environment);

class ActorCritic : public Algorithm {
 public:
  ActorCritic(const v1::ActorCriticOptions& options, std::unique_ptr<ActorCriticModel> model);

  std::vector<ParameterGroup> ParameterGroups() override;
  void Update(const Batch& batch, GradientSink& sink) override;

  std::vector<NamedTensor> PolicyTensors() const override { return model_->PolicyTensors(); }
  std::vector<NamedTensor> StateTensors() const override { return model_->AllTensors(); }
  void SetObservationMoments(const v1::Moments& moments) override { model_->SetObservationMoments(moments); }
  const std::vector<std::string>& MetricNames() const override;
  at::Tensor Metrics() const override { return metrics_; }

 private:
  // Of the unrolls' first row; undefined where the network is not recurrent.
  at::Tensor RecurrentState(const Batch& batch) const;

  const v1::ActorCriticOptions options_;
  const std::unique_ptr<ActorCriticModel> model_;
  const std::unique_ptr<ActorCriticPass> pass_;
  at::Tensor metrics_;
};

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_ACTOR_CRITIC_H_
