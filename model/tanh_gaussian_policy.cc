#include "model/tanh_gaussian_policy.h"

#include "ATen/ops/empty.h"

namespace headrace {

TanhGaussianPolicy::TanhGaussianPolicy(const TanhGaussianPolicySpec& spec, at::Device device)
    : parameters_(MlpParameters::Zeros(spec.network(), device)),
      gradients_(MlpParameters::Zeros(spec.network(), device)) {}

const TanhGaussianSample& TanhGaussianPolicy::Sample(const at::Tensor& s, const at::Tensor& noise) {
  sample_ = SampleTanhGaussian(pass_.Forward(parameters_, s).squeeze(0), noise);
  return sample_;
}

const at::Tensor& TanhGaussianPolicy::ParameterGradient(const at::Tensor& action_gradient,
                                                        const at::Tensor& log_prob_gradient) {
  const int64_t rows = action_gradient.size(0);
  if (!output_gradient_.defined() || output_gradient_.size(0) != rows) {
    output_gradient_ = at::empty({rows, 2 * action_gradient.size(1)}, action_gradient.options());
  }
  TanhGaussianBackward(sample_, action_gradient, log_prob_gradient, output_gradient_);
  pass_.BackwardParameters(parameters_, output_gradient_.unsqueeze(0), gradients_);
  return gradients_.flat;
}

}  // namespace headrace
