#include "algorithm/target/soft_q_target.h"

namespace headrace {

at::Tensor SoftQTarget(const at::Tensor& reward, const at::Tensor& discount, const at::Tensor& next_q,
                       const at::Tensor& alpha, const at::Tensor& next_log_prob) {
  const at::Tensor next_v = next_q.amin(0).addcmul_(alpha, next_log_prob, -1);
  return reward.addcmul(discount, next_v);
}

}  // namespace headrace
