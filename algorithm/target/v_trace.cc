#include "algorithm/target/v_trace.h"

#include "ATen/TensorOperators.h"
#include "ATen/ops/zeros_like.h"
#include "c10/util/Exception.h"

namespace headrace {
namespace {

// x_t <- x_t + decay_t x_{t+1}, from the last row but one to the first; [B, R].
at::Tensor SumBackwards(const at::Tensor& x, const at::Tensor& decay) {
  // One row of all environments at a time, so each is laid out in one piece.
  const at::Tensor sums = x.t().contiguous();
  const at::Tensor decays = decay.t().contiguous();
  if (sums.is_cpu()) {  // a loop: thousands of operations on a few numbers each take longer than networks
    const int64_t lanes = sums.size(1);
    float* const sum = sums.mutable_data_ptr<float>();
    const float* const by = decays.const_data_ptr<float>();
    for (int64_t i = sums.numel() - lanes - 1; i >= 0; --i) sum[i] += by[i] * sum[i + lanes];
    return sums.t();
  }
  for (int64_t row = sums.size(0) - 2; row >= 0; --row) sums[row].addcmul_(decays[row], sums[row + 1]);
  return sums.t();
}

// V_{t+1}; 0 in the last row, which is no step.
at::Tensor NextValues(const at::Tensor& value) {
  at::Tensor next = at::zeros_like(value);
  next.narrow(1, 0, value.size(1) - 1).copy_(value.narrow(1, 1, value.size(1) - 1));
  return next;
}

}  // namespace

VTraceTarget MakeVTrace(const VTraceInput& input, const VTraceOptions& options) {
  TORCH_CHECK(input.value.dim() == 2 && input.reward.sizes() == input.value.sizes() &&
                  input.log_rho.sizes() == input.value.sizes() && input.is_step.sizes() == input.value.sizes(),
              "expected tensors of one shape [B, R], got rewards ", input.reward.sizes(), ", values ",
              input.value.sizes(), " and ratios ", input.log_rho.sizes());
  const at::Tensor rho = (input.log_rho * input.is_step).exp();
  const at::Tensor next_value = NextValues(input.value);
  const at::Tensor difference = input.reward + input.discount * next_value - input.value;
  const at::Tensor delta = input.is_step * rho.clamp_max(options.rho_bar) * difference;
  const at::Tensor decay = input.is_step * input.discount * rho.clamp_max(options.c_bar) * options.lambda;
  const at::Tensor correction = SumBackwards(delta, decay);  // v_t - V_t
  const at::Tensor ahead = input.discount * NextValues(correction) * options.lambda;
  return {.value = input.value + correction,
          .advantage = input.is_step * rho.clamp_max(options.policy_rho_bar) * (difference + ahead)};
}

VTraceTarget MakeGeneralizedAdvantage(const VTraceInput& input, double lambda) {
  const at::Tensor delta = input.is_step * (input.reward + input.discount * NextValues(input.value) - input.value);
  const at::Tensor advantage = SumBackwards(delta, input.is_step * input.discount * lambda);
  return {.value = input.value + advantage, .advantage = advantage};
}

}  // namespace headrace
