// Observation normalisation with statistics that somebody else collects: (x - mean) / sqrt(var + 1e-8), clipped to
// +-10. Applied when experience is sampled, so that old experience never carries stale statistics. Here nothing is
// learned from what passes through; an evaluator that is not given new statistics has frozen ones.
//
// Not thread-safe.
#ifndef HEADRACE_MODEL_NORMALIZER_H_
#define HEADRACE_MODEL_NORMALIZER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "model/named_tensor.h"
#include "proto/run.pb.h"

namespace headrace {

class Normalizer {
 public:
  // The identity (but for the clipping) until moments are set.
  Normalizer(int64_t elements, at::Device device);

  // Moments of fewer than two observations leave the statistics as they are. The number of elements must fit.
  void SetMoments(const v1::Moments& moments);

  // x: [..., elements], in place.
  void Normalize(at::Tensor& x) const;

  // Live: PREFIX/mean and PREFIX/variance.
  std::vector<NamedTensor> Named(const std::string& prefix) const;

 private:
  at::Tensor mean_;
  at::Tensor variance_;
};

}  // namespace headrace

#endif  // HEADRACE_MODEL_NORMALIZER_H_
