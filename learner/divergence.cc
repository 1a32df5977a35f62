#include "learner/divergence.h"

#include "absl/strings/str_format.h"

namespace headrace {

absl::Status CheckFinite(const std::vector<NamedTensor>& tensors, uint64_t updates,
                         const std::vector<std::string>& loss_names, const at::Tensor& losses) {
  for (const NamedTensor& named : tensors) {
    if (!named.tensor.is_floating_point() || named.tensor.isfinite().all().item<bool>()) continue;
    std::string list;
    const at::Tensor values = losses.to(at::kCPU, at::kDouble);
    for (size_t i = 0; i < loss_names.size(); ++i) {
      absl::StrAppendFormat(&list, "%s%s %g", i > 0 ? ", " : "", loss_names[i], values.data_ptr<double>()[i]);
    }
    return absl::InternalError(
        absl::StrFormat("training has diverged: after %d updates %s is not finite; %s", updates, named.name, list));
  }
  return absl::OkStatus();
}

}  // namespace headrace
