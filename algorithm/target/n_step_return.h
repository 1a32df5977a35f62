// What n steps of experience give before the value of where they lead: Sutton and Barto, "Reinforcement Learning: An
// Introduction", second edition, equation 7.1.
#ifndef HEADRACE_ALGORITHM_TARGET_N_STEP_RETURN_H_
#define HEADRACE_ALGORITHM_TARGET_N_STEP_RETURN_H_

#include "ATen/core/Tensor.h"

namespace headrace {

struct NStepReturn {
  at::Tensor reward;    // [B]: sum_{i<k} discount^i r_{t+i}
  at::Tensor discount;  // [B]: discount^k, of the value at o_{t+k}; 0 where the episode terminated on the way
};

// k steps count: n, or fewer where the episode ended; at a time limit the value there counts, with discount^k.
//
// reward, terminated: [B, n]; beyond an episode's end rewards are 0 and nothing is terminated. rows: [B], int32, of
// each item, k + 1; undefined: all n + 1.
NStepReturn MakeNStepReturn(const at::Tensor& reward, const at::Tensor& terminated, const at::Tensor& rows,
                            double discount);

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_TARGET_N_STEP_RETURN_H_
