#include "algorithm/loss/soft_actor_loss.h"

#include "ATen/ops/div.h"
#include "ATen/ops/eq.h"
#include "ATen/ops/mul.h"

namespace headrace {

SoftActorLoss MinimumSoftActorLoss(const at::Tensor& alpha, const at::Tensor& log_prob, const at::Tensor& q) {
  const double batch = static_cast<double>(log_prob.size(0));
  const at::Tensor smallest = q.amin(0);
  const at::Tensor is_smallest = at::eq(q, smallest).to(at::kFloat);
  return {
      .loss = at::mul(alpha, log_prob).sub_(smallest).mean(),
      .log_prob_gradient = at::div(alpha, batch).expand_as(log_prob),
      .q_gradient = is_smallest.div(is_smallest.sum(0).mul_(-batch)),
  };
}

}  // namespace headrace
