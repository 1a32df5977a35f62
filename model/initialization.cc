#include "model/initialization.h"

#include <cmath>
#include <span>

#include "ATen/ops/empty.h"
#include "ATen/ops/linalg_qr.h"

namespace headrace {
namespace {

void FillUniform(const at::Tensor& parameter, double bound, RandomStream& random) {
  at::Tensor values = at::empty(parameter.sizes(), at::kFloat);
  for (float& value : std::span(values.mutable_data_ptr<float>(), values.numel())) {
    value = static_cast<float>(random.Uniform(-bound, bound));
  }
  parameter.copy_(values);
}

// A random [rows, columns] matrix with orthonormal columns (rows >= columns) or rows, uniform over all of them: the
// sign of R's diagonal makes the QR decomposition of a Gaussian matrix unique.
at::Tensor RandomOrthogonal(int64_t rows, int64_t columns, RandomStream& random) {
  const bool wide = rows < columns;
  at::Tensor gaussian = at::empty({wide ? columns : rows, wide ? rows : columns}, at::kFloat);
  random.FillNormal({gaussian.mutable_data_ptr<float>(), static_cast<size_t>(gaussian.numel())});
  auto [q, r] = at::linalg_qr(gaussian);
  q.mul_(r.diag().sign());
  return wide ? q.t() : q;
}

}  // namespace

void InitializeFanInUniform(MlpParameters& parameters, RandomStream& random) {
  for (LinearParameters& layer : parameters.layers) {
    const double bound = 1 / std::sqrt(static_cast<double>(layer.weight.size(1)));
    FillUniform(layer.weight, bound, random);
    FillUniform(layer.bias, bound, random);
  }
}

void FillFanInUniform(const at::Tensor& weight, const at::Tensor& bias, RandomStream& random) {
  const int64_t inputs = weight.numel() / weight.size(0);
  const double bound = 1 / std::sqrt(static_cast<double>(inputs));
  FillUniform(weight, bound, random);
  FillUniform(bias, bound, random);
}

void FillOrthogonal(at::Tensor& weight, double gain, RandomStream& random) {
  const int64_t outputs = weight.size(0);
  weight.copy_(RandomOrthogonal(outputs, weight.numel() / outputs, random).mul(gain).view(weight.sizes()));
}

}  // namespace headrace
