// Proximal policy optimisation with a clipped objective.
// Schulman et al., "Proximal Policy Optimization Algorithms", arXiv:1707.06347, algorithm 1.
#ifndef HEADRACE_ALGORITHM_PPO_H_
#define HEADRACE_ALGORITHM_PPO_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Generator.h"
#include "absl/status/statusor.h"
#include "algorithm/actor_critic_model.h"
#include "algorithm/algorithm.h"
#include "model/actor_critic_pass.h"
#include "proto/algorithm/ppo.pb.h"

namespace headrace {

// Built from a configuration and environment that MakePpoExperience accepts.
absl::StatusOr<std::unique_ptr<Algorithm>> MakePpo(const v1::RunConfig& config, const v1::EnvironmentSpec& environment);
absl::StatusOr<std::unique_ptr<Policy>> MakePpoPolicy(const v1::RunConfig& config,
                                                      const v1::EnvironmentSpec& environment);

class Ppo : public Algorithm {
 public:
  Ppo(const v1::PpoOptions& options, std::unique_ptr<ActorCriticModel> model, uint64_t seed);

  std::vector<ParameterGroup> ParameterGroups() override;
  // One round: all epochs of all minibatches.
  void Update(const Batch& batch, GradientSink& sink) override;

  std::vector<NamedTensor> PolicyTensors() const override { return model_->PolicyTensors(); }
  // The random generator's state is listed as it is when this is called.
  std::vector<NamedTensor> StateTensors() const override;
  absl::Status StateLoaded() override;
  // In effect after the next update, with the weights that it gives: until then the round's observations are seen as
  // the actors saw them.
  void SetObservationMoments(const v1::Moments& moments) override;
  void SetReturnMoments(const v1::Moments& moments) override;
  const std::vector<std::string>& MetricNames() const override;
  at::Tensor Metrics() const override { return metrics_; }

 private:
  // The steps of a round, in one row each.
  struct Steps {
    at::Tensor inputs;     // [S, shape...]
    at::Tensor action;     // [S] or [S, A]
    at::Tensor log_prob;   // [S]: of the policy that acted
    at::Tensor advantage;  // [S]
    at::Tensor target;     // [S]: of the value
    at::Tensor value;      // [S]: before the round's first step

    Steps At(const at::Tensor& indices) const;
    Steps Narrow(int64_t first, int64_t count) const;
  };

  Steps MakeSteps(const Batch& batch) const;
  at::Tensor RandomOrder(int64_t count);
  // One gradient step; the metrics of this minibatch are added to `sum`. False: no step, for the policy has moved too
  // far from the one that acted.
  bool StepOnce(const Steps& minibatch, double clip, GradientSink& sink, at::Tensor& sum);

  const v1::PpoOptions options_;
  const std::unique_ptr<ActorCriticModel> model_;
  const std::unique_ptr<ActorCriticPass> pass_;
  at::Generator generator_;     // of the minibatches
  at::Tensor generator_state_;  // bytes, on the CPU
  double reward_scale_ = 1;
  v1::Moments pending_moments_;  // of observations; count 0: none
  at::Tensor metrics_;
};

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_PPO_H_
