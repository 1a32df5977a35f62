// Pauses between attempts: they double from `first` to `most`, and each is drawn between half of that and all of it, so
// that peers which lost the same server do not return all at once.
#ifndef HEADRACE_COMMON_BACKOFF_H_
#define HEADRACE_COMMON_BACKOFF_H_

#include <algorithm>
#include <chrono>

#include "common/random.h"

namespace headrace {

class Backoff {
 public:
  using Duration = std::chrono::milliseconds;

  Backoff(Duration first, Duration most, RandomStream random)
      : first_(first), most_(most), next_(first), random_(random) {}

  Duration Next() {
    const Duration pause = Duration(static_cast<int64_t>(next_.count() * random_.Uniform(0.5, 1.0)));
    next_ = std::min(most_, 2 * next_);
    return pause;
  }
  // After a success.
  void Reset() { next_ = first_; }

 private:
  const Duration first_;
  const Duration most_;
  Duration next_;
  RandomStream random_;
};

}  // namespace headrace

#endif  // HEADRACE_COMMON_BACKOFF_H_
