// Limits how often something is told of that may happen many times a second. The first time is told of at once.
//
//   if (const uint64_t times = failures_.Count(1, now); times > 0) LogWarning("%d failures", times);
#ifndef HEADRACE_COMMON_OCCASIONALLY_H_
#define HEADRACE_COMMON_OCCASIONALLY_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>

namespace headrace {

class Occasionally {
 public:
  using Time = std::chrono::steady_clock::time_point;

  explicit Occasionally(std::chrono::steady_clock::duration interval) : interval_(interval) {}

  // It has happened `times` more. Returns how often it has since it was told of last, if it is to be told of now;
  // otherwise 0.
  uint64_t Count(uint64_t times, Time now) {
    untold_ += times;
    if (untold_ == 0 || (told_.has_value() && now - *told_ < interval_)) return 0;
    told_ = now;
    return std::exchange(untold_, 0);
  }

 private:
  const std::chrono::steady_clock::duration interval_;
  std::optional<Time> told_;
  uint64_t untold_ = 0;
};

}  // namespace headrace

#endif  // HEADRACE_COMMON_OCCASIONALLY_H_
