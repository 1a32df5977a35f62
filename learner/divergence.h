// What tells a run that has diverged: parameters that are not finite, which nobody may be given and nothing may save.
#ifndef HEADRACE_LEARNER_DIVERGENCE_H_
#define HEADRACE_LEARNER_DIVERGENCE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "model/named_tensor.h"

namespace headrace {

// Internal, with which training ends; IsDivergence tells it from others.
absl::Status DivergedError(const std::string& how);
bool IsDivergence(const absl::Status& status);

// DivergedError: one of them is not finite, after so many updates, the last of them with these losses. Waits for the
// device.
absl::Status CheckFinite(const std::vector<NamedTensor>& tensors, uint64_t updates,
                         const std::vector<std::string>& loss_names, const at::Tensor& losses);

}  // namespace headrace

#endif  // HEADRACE_LEARNER_DIVERGENCE_H_
