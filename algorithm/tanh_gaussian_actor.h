// Acts with a tanh-Gaussian policy: the actors' half of soft actor-critic and its relatives.
//
// Only the network runs in LibTorch. Squashing and sampling a handful of numbers for each lane is a plain loop: as
// tensor operations they would cost more than the network does for one observation.
//
// Not thread-safe.
#ifndef HEADRACE_ALGORITHM_TANH_GAUSSIAN_ACTOR_H_
#define HEADRACE_ALGORITHM_TANH_GAUSSIAN_ACTOR_H_

#include <optional>
#include <vector>

#include "algorithm/algorithm.h"
#include "model/mlp.h"
#include "model/normalizer.h"
#include "model/tanh_gaussian_policy.h"

namespace headrace {

class TanhGaussianActor : public Policy {
 public:
  TanhGaussianActor(const TanhGaussianPolicySpec& spec, bool normalize_observations);

  // Explores with a ~ pi(.|s), is greedy with tanh(mu). Does not record log-probabilities.
  void Act(const at::Tensor& observations, ActMode mode, RandomStream& random, at::Tensor& recurrent_state,
           at::Tensor& actions, at::Tensor& log_probs) override;
  std::vector<NamedTensor> Tensors() const override;

 private:
  const TanhGaussianPolicySpec spec_;
  MlpParameters parameters_;
  std::optional<Normalizer> normalizer_;
  MlpPass pass_;
  std::vector<float> noise_;
};

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_TANH_GAUSSIAN_ACTOR_H_
