#include "algorithm/loss/temporal_difference_loss.h"

#include "ATen/ops/dot.h"
#include "ATen/ops/sub.h"

namespace headrace {

TemporalDifferenceLoss SquaredTemporalDifferenceLoss(const at::Tensor& q, const at::Tensor& y,
                                                     const at::Tensor& weights) {
  const double batch = static_cast<double>(y.size(0));
  const at::Tensor error = at::sub(q, y);
  const at::Tensor weighted = weights.defined() ? error.mul(weights) : error;
  at::Tensor loss = at::dot(weighted.flatten(), error.flatten()).mul_(0.5 / batch);
  return {.loss = loss, .q_gradient = weighted.div(batch), .error = error};
}

}  // namespace headrace
