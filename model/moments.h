// Moments of observations, collected apart and merged.
#ifndef HEADRACE_MODEL_MOMENTS_H_
#define HEADRACE_MODEL_MOMENTS_H_

#include "absl/status/statusor.h"
#include "proto/run.pb.h"

namespace headrace {

// The moments of both samples together (Chan, Golub and LeVeque, 1979):
//   mean = mean_a + d n_b / n,   m2 = m2_a + m2_b + d^2 n_a n_b / n,   d = mean_b - mean_a,   n = n_a + n_b.
// Moments of nothing (count 0) may be empty. InvalidArgument: different numbers of elements, numbers that are negative
// where they cannot be, or means or variances, also of both together, that are not finite in float32.
absl::StatusOr<v1::Moments> MergeMoments(const v1::Moments& a, const v1::Moments& b);

}  // namespace headrace

#endif  // HEADRACE_MODEL_MOMENTS_H_
