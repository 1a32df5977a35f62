#include "model/normalizer.h"

#include "ATen/ops/ones.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "c10/util/Exception.h"

namespace headrace {
namespace {

constexpr double kVarianceFloor = 1e-8;
constexpr double kClip = 10;

}  // namespace

Normalizer::Normalizer(int64_t elements, at::Device device)
    : mean_(at::zeros({elements}, at::TensorOptions().device(device).dtype(at::kFloat))),
      variance_(at::ones({elements}, mean_.options())) {}

void Normalizer::SetMoments(const v1::Moments& moments) {
  if (moments.count() < 2) return;
  TORCH_CHECK(moments.mean_size() == mean_.numel() && moments.m2_size() == mean_.numel(), "expected moments of ",
              mean_.numel(), " elements, got ", moments.mean_size());
  std::vector<double> variance(moments.m2().begin(), moments.m2().end());
  for (double& value : variance) value /= moments.count();
  mean_.copy_(at::tensor(std::vector<double>(moments.mean().begin(), moments.mean().end()), at::kDouble));
  variance_.copy_(at::tensor(variance, at::kDouble));
}

void Normalizer::Normalize(at::Tensor& x) const {
  x.sub_(mean_).mul_(variance_.add(kVarianceFloor).rsqrt_()).clamp_(-kClip, kClip);
}

std::vector<NamedTensor> Normalizer::Named(const std::string& prefix) const {
  return {{prefix + "/mean", mean_}, {prefix + "/variance", variance_}};
}

}  // namespace headrace
