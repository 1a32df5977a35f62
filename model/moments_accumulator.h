// Moments of observations as they come, one by one (Welford's recurrence), to be reported in parts.
//
// Not thread-safe.
#ifndef HEADRACE_MODEL_MOMENTS_ACCUMULATOR_H_
#define HEADRACE_MODEL_MOMENTS_ACCUMULATOR_H_

#include <cstddef>
#include <span>
#include <vector>

#include "proto/run.pb.h"

namespace headrace {

class MomentsAccumulator {
 public:
  explicit MomentsAccumulator(size_t elements) : mean_(elements), m2_(elements) {}

  void Add(std::span<const float> observation) {
    ++count_;
    for (size_t i = 0; i < mean_.size(); ++i) {
      const double delta = observation[i] - mean_[i];
      mean_[i] += delta / count_;
      m2_[i] += delta * (observation[i] - mean_[i]);
    }
  }

  double count() const { return count_; }

  // What was added since the last Take.
  v1::Moments Take() {
    v1::Moments moments;
    moments.set_count(count_);
    moments.mutable_mean()->Add(mean_.begin(), mean_.end());
    moments.mutable_m2()->Add(m2_.begin(), m2_.end());
    count_ = 0;
    mean_.assign(mean_.size(), 0);
    m2_.assign(m2_.size(), 0);
    return moments;
  }

 private:
  double count_ = 0;
  std::vector<double> mean_;
  std::vector<double> m2_;
};

}  // namespace headrace

#endif  // HEADRACE_MODEL_MOMENTS_ACCUMULATOR_H_
