#include "algorithm/target/n_step_return.h"

#include <cmath>

#include "ATen/ops/arange.h"
#include "ATen/ops/pow.h"

namespace headrace {

NStepReturn MakeNStepReturn(const at::Tensor& reward, const at::Tensor& terminated, const at::Tensor& rows,
                            double discount) {
  const int64_t n = reward.size(1);
  const at::Tensor goes_on = terminated.amax(1).to(at::kFloat).sub_(1).neg_();
  const at::Tensor sum = n == 1 ? reward.select(1, 0) : reward.mv(at::pow(discount, at::arange(n, reward.options())));
  if (!rows.defined()) return {sum, goes_on.mul(std::pow(discount, n))};
  return {sum, at::pow(discount, rows.sub(1).to(at::kFloat)).mul_(goes_on)};
}

}  // namespace headrace
