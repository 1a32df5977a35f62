#include "algorithm/target/q_target.h"

namespace headrace {

at::Tensor QTarget(const at::Tensor& reward, const at::Tensor& discount, const at::Tensor& target_q) {
  return reward.addcmul(discount, target_q.amax(1));
}

at::Tensor DoubleQTarget(const at::Tensor& reward, const at::Tensor& discount, const at::Tensor& target_q,
                         const at::Tensor& q) {
  const at::Tensor best = q.argmax(1, /*keepdim=*/true);
  return reward.addcmul(discount, target_q.gather(1, best).squeeze(1));
}

}  // namespace headrace
