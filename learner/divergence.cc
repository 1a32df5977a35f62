#include "learner/divergence.h"

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace headrace {
namespace {

constexpr char kDivergence[] = "headrace/divergence";

}  // namespace

absl::Status DivergedError(const std::string& how) {
  absl::Status status = absl::InternalError(absl::StrCat("training has diverged: ", how));
  status.SetPayload(kDivergence, absl::Cord());
  return status;
}

bool IsDivergence(const absl::Status& status) { return status.GetPayload(kDivergence).has_value(); }

absl::Status CheckFinite(const std::vector<NamedTensor>& tensors, uint64_t updates,
                         const std::vector<std::string>& loss_names, const at::Tensor& losses) {
  for (const NamedTensor& named : tensors) {
    if (!named.tensor.is_floating_point() || named.tensor.isfinite().all().item<bool>()) continue;
    std::string list;
    const at::Tensor values = losses.to(at::kCPU, at::kDouble);
    for (size_t i = 0; i < loss_names.size(); ++i) {
      absl::StrAppendFormat(&list, "%s%s %g", i > 0 ? ", " : "", loss_names[i], values.data_ptr<double>()[i]);
    }
    return DivergedError(absl::StrFormat("after %d updates %s is not finite; %s", updates, named.name, list));
  }
  return absl::OkStatus();
}

}  // namespace headrace
