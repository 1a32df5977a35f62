// The stochastic policy pi(a|s) of soft actor-critic: a network that gives mean and scale of a tanh-Gaussian.
//
// Not thread-safe.
#ifndef HEADRACE_MODEL_TANH_GAUSSIAN_POLICY_H_
#define HEADRACE_MODEL_TANH_GAUSSIAN_POLICY_H_

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "model/mlp.h"
#include "model/tanh_gaussian.h"

namespace headrace {

struct TanhGaussianPolicySpec {
  int64_t observation = 0;  // elements of s
  int64_t action = 0;       // elements of a
  std::vector<int64_t> hidden;

  MlpSpec network() const { return {.inputs = observation, .hidden = hidden, .outputs = 2 * action}; }
};

class TanhGaussianPolicy {
 public:
  TanhGaussianPolicy(const TanhGaussianPolicySpec& spec, at::Device device);

  // a ~ pi(.|s) and log pi(a|s), reparameterised. s: [B, observation], noise: [B, action] standard normal.
  const TanhGaussianSample& Sample(const at::Tensor& s, const at::Tensor& noise);
  // Of the last sample, for a loss that depends on its first n rows, with these derivatives by action [n, action] and
  // log-probability [n]: the derivative by the parameters, a flat tensor like parameters().flat.
  const at::Tensor& ParameterGradient(const at::Tensor& action_gradient, const at::Tensor& log_prob_gradient);

  MlpParameters& parameters() { return parameters_; }
  const MlpParameters& parameters() const { return parameters_; }

 private:
  MlpParameters parameters_;
  MlpParameters gradients_;
  MlpPass pass_;
  TanhGaussianSample sample_;
  at::Tensor output_gradient_;
};

}  // namespace headrace

#endif  // HEADRACE_MODEL_TANH_GAUSSIAN_POLICY_H_
