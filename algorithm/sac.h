// Soft actor-critic with twin critics and automatic temperature.
// Haarnoja et al., "Soft Actor-Critic Algorithms and Applications", arXiv:1812.05905, algorithm 1.
//
// Initialisation: fan-in uniform, as in the implementations whose scores we compare with (Stable-Baselines3, CleanRL).
#ifndef HEADRACE_ALGORITHM_SAC_H_
#define HEADRACE_ALGORITHM_SAC_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ATen/core/Generator.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "algorithm/algorithm.h"
#include "model/mlp.h"
#include "model/normalizer.h"
#include "model/q_ensemble.h"
#include "model/tanh_gaussian_policy.h"
#include "proto/algorithm/sac.pb.h"

namespace headrace {

// Built from a configuration and environment that MakeSacExperience accepts.
absl::StatusOr<std::unique_ptr<Algorithm>> MakeSac(const v1::RunConfig& config, const v1::EnvironmentSpec& environment);
absl::StatusOr<std::unique_ptr<Policy>> MakeSacPolicy(const v1::RunConfig& config,
                                                      const v1::EnvironmentSpec& environment);

class Sac : public Algorithm {
 public:
  Sac(const v1::SacOptions& options, const TanhGaussianPolicySpec& spec, at::Device device, uint64_t seed);

  std::vector<ParameterGroup> ParameterGroups() override;
  void Update(const Batch& batch, GradientSink& sink) override;
  // Update with the policy's noise given, [2 B, A]: standard normals for the B actions at o_t, then for those at
  // o_{t+1}.
  void UpdateWithNoise(const Batch& batch, const at::Tensor& noise, GradientSink& sink);

  std::vector<NamedTensor> PolicyTensors() const override;
  // The random generator's state is listed as it is when this is called.
  std::vector<NamedTensor> StateTensors() const override;
  absl::Status StateLoaded() override;
  void SetObservationMoments(const v1::Moments& moments) override;
  const std::vector<std::string>& MetricNames() const override;
  at::Tensor Metrics() const override { return metrics_; }
  // (|Q_1 - y| + |Q_2 - y|) / 2 and a little, so that nothing is never drawn again.
  at::Tensor Priorities() const override { return priorities_; }

 private:
  // Fills observations_ from a batch's [B, 2, ...].
  void LoadObservations(const at::Tensor& observations);

  const v1::SacOptions options_;
  const TanhGaussianPolicySpec spec_;
  const int64_t batch_size_;
  const double target_entropy_;

  TanhGaussianPolicy policy_;
  QEnsemble critics_;
  MlpParameters target_critics_;
  at::Tensor log_alpha_;  // []
  std::optional<Normalizer> normalizer_;
  at::Generator generator_;

  at::Tensor observations_;     // [2, B, observation]: all o_t, then all o_{t+1}
  at::Tensor noise_;            // [2 B, A]
  at::Tensor generator_state_;  // bytes, on the CPU
  at::Tensor metrics_;
  at::Tensor priorities_;  // [B]; undefined without prioritised replay
};

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_SAC_H_
