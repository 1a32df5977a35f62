#include "model/moments.h"

#include <algorithm>
#include <cmath>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

absl::Status Validate(const v1::Moments& moments) {
  if (moments.mean_size() != moments.m2_size()) {
    return absl::InvalidArgumentError(absl::StrCat("observation moments: ", moments.mean_size(), " means but ",
                                                   moments.m2_size(), " sums of squared deviations"));
  }
  // Means and variances, of which networks are given float32.
  const auto is_float = [](double value) { return std::isfinite(static_cast<float>(value)); };
  const double count = moments.count();
  bool valid = std::isfinite(count) && count >= 0;
  for (const double mean : moments.mean()) valid = valid && is_float(mean);
  for (const double m2 : moments.m2()) valid = valid && is_float(m2 / std::max(count, 1.0)) && m2 >= 0;
  if (!valid) return absl::InvalidArgumentError("observation moments: a number is negative or not finite in float32");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<v1::Moments> MergeMoments(const v1::Moments& a, const v1::Moments& b) {
  RETURN_IF_ERROR(Validate(a));
  RETURN_IF_ERROR(Validate(b));
  if (b.count() == 0) return a;
  if (a.count() == 0) return b;
  if (a.mean_size() != b.mean_size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("observation moments: expected ", a.mean_size(), " elements, got ", b.mean_size()));
  }
  v1::Moments merged;
  const double count = a.count() + b.count();
  merged.set_count(count);
  for (int i = 0; i < a.mean_size(); ++i) {
    const double difference = b.mean(i) - a.mean(i);
    merged.add_mean(a.mean(i) + difference * b.count() / count);
    merged.add_m2(a.m2(i) + b.m2(i) + difference * difference * a.count() * b.count() / count);
  }
  RETURN_IF_ERROR(Validate(merged));  // of what lies far apart the sum may be too large
  return merged;
}

}  // namespace headrace
