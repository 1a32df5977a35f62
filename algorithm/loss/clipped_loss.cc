#include "algorithm/loss/clipped_loss.h"

#include "ATen/TensorOperators.h"
#include "ATen/ops/max.h"

namespace headrace {

ClippedPolicyLoss MakeClippedPolicyLoss(const at::Tensor& log_prob, const at::Tensor& old_log_prob,
                                        const at::Tensor& advantage, double clip) {
  const at::Tensor log_ratio = log_prob - old_log_prob;
  const at::Tensor ratio = log_ratio.exp();
  const at::Tensor bounded = ratio.clamp(1 - clip, 1 + clip);
  const at::Tensor cost = -advantage, free_loss = ratio * cost, bounded_loss = bounded * cost;
  const double batch = static_cast<double>(log_prob.size(0));
  return {
      .loss = at::max(free_loss, bounded_loss).mean(),
      .log_prob_gradient = (free_loss / batch).mul_(free_loss.ge(bounded_loss)),
      .divergence = (ratio - log_ratio).mean().sub_(1),
      .clipped = ratio.ne(bounded).to(at::kFloat).mean(),
  };
}

ValueLoss MakeValueLoss(const at::Tensor& value, const at::Tensor& old_value, const at::Tensor& target,
                        std::optional<double> clip) {
  const double batch = static_cast<double>(value.size(0));
  const at::Tensor error = value - target;
  const at::Tensor square = error.square();
  if (!clip) return {.loss = square.mean(), .value_gradient = error.mul(2 / batch)};
  const at::Tensor change = value - old_value;
  const at::Tensor bounded = change.clamp(-*clip, *clip);
  const at::Tensor bounded_square = (old_value + bounded).sub_(target).square_();
  // Within the clip both are the same but for rounding.
  const at::Tensor counts = square.ge(bounded_square).logical_or_(change.eq(bounded));
  return {.loss = at::max(square, bounded_square).mean(), .value_gradient = error.mul(2 / batch).mul_(counts)};
}

}  // namespace headrace
