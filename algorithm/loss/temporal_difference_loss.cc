#include "algorithm/loss/temporal_difference_loss.h"

#include "ATen/ops/dot.h"
#include "ATen/ops/sub.h"

namespace headrace {

TemporalDifferenceLoss SquaredTemporalDifferenceLoss(const at::Tensor& q, const at::Tensor& y) {
  const double batch = static_cast<double>(y.size(0));
  const at::Tensor difference = at::sub(q, y);
  const at::Tensor flat = difference.flatten();
  at::Tensor loss = at::dot(flat, flat).mul_(0.5 / batch);
  return {.loss = loss, .q_gradient = difference.div(batch)};
}

}  // namespace headrace
