// Targets from experience that another policy made: V-trace, Espeholt et al., "IMPALA", arXiv:1802.01561, section 4.1;
// and, where policy and behaviour are one, generalised advantages, Schulman et al., arXiv:1506.02438, equation 16.
//
// All tensors are [B, R], rows in order. Where a row is no step (an episode's final observation, the last row), its
// value still counts for the step before it, but nothing is passed back over it: time limits bootstrap, traces end.
// Nothing here is differentiated.
#ifndef HEADRACE_ALGORITHM_TARGET_V_TRACE_H_
#define HEADRACE_ALGORITHM_TARGET_V_TRACE_H_

#include "ATen/core/Tensor.h"

namespace headrace {

struct VTraceInput {
  at::Tensor reward;
  at::Tensor discount;  // of what follows the step; 0 where it terminated the episode
  at::Tensor is_step;   // 1 or 0; 0 in the last row
  at::Tensor value;     // V(o_t)
  at::Tensor log_rho;   // log pi(a_t|o_t) - log mu(a_t|o_t)
};

struct VTraceOptions {
  double lambda = 1;
  double rho_bar = 1;
  double c_bar = 1;
  double policy_rho_bar = 1;
};

struct VTraceTarget {
  at::Tensor value;      // v_t; V(o_t) where the row is no step
  at::Tensor advantage;  // of the policy gradient; 0 where the row is no step
};

//   v_t = V_t + delta_t + discount_t lambda min(c_bar, rho_t) (v_{t+1} - V_{t+1})
//   delta_t = min(rho_bar, rho_t) (r_t + discount_t V_{t+1} - V_t)
//   advantage_t = min(policy_rho_bar, rho_t) (r_t + discount_t (V_{t+1} + lambda (v_{t+1} - V_{t+1})) - V_t)
VTraceTarget MakeVTrace(const VTraceInput& input, const VTraceOptions& options);

//   advantage_t = delta_t + discount_t lambda advantage_{t+1}, value_t = V_t + advantage_t
//   delta_t = r_t + discount_t V_{t+1} - V_t
// input.log_rho is not used.
VTraceTarget MakeGeneralizedAdvantage(const VTraceInput& input, double lambda);

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_TARGET_V_TRACE_H_
