#include "learner/thread_tuner.h"

#include <algorithm>
#include <array>

#include "common/log.h"
#include "common/machine.h"

namespace headrace {
namespace {

constexpr int kUpdates = 30;          // of a window, unless they take longer than
constexpr double kLongWindow = 0.5;   // seconds
constexpr double kWorthwhile = 0.95;  // of the usual time: what is hardly faster is not changed for
constexpr double kHopeless = 2;       // times the usual window: a trial that takes longer ends early
constexpr double kSlowed = 2;         // times the usual time: something has changed, and is looked into at once
constexpr double kFirstPause = 5;
constexpr double kLongestPause = 80;

}  // namespace

ThreadTuner ThreadTuner::For(const v1::RunConfig& config) {
  if (config.learner().threads() > 0) return ThreadTuner(static_cast<int>(config.learner().threads()), false);
  if (config.deterministic()) return ThreadTuner(1);
  return ThreadTuner(static_cast<int>(UsableCores()), config.device() == "cpu");
}

void ThreadTuner::Add(double seconds) {
  if (!chooses_) return;
  ++window_.updates;
  window_.seconds += seconds;
  since_trial_ += seconds;
  const double limit = chosen_ > 0 ? kHopeless * kUpdates * usual_ : kLongWindow;
  if (window_.updates < kUpdates && window_.seconds < limit) return;
  const double mean = window_.seconds / window_.updates;
  window_ = {};
  chosen_ > 0 ? EndTrial(mean) : Consider(mean);
}

void ThreadTuner::Consider(double mean) {
  const bool first = usual_ == 0;  // it has all that is done only once, and decides nothing
  const bool slowed = mean > kSlowed * usual_;
  usual_ = mean;
  if (first || (since_trial_ < pause_ && !slowed)) return;
  if (slowed) turn_ = 0;
  chosen_ = threads_;
  threads_ = Other();
}

int ThreadTuner::Other() {
  const std::array<int, 4> others = {1, chosen_ / 2, 2 * chosen_, most_};
  while (true) {
    const int other = others[turn_++ % others.size()];
    if (other >= 1 && other <= most_ && other != chosen_) return other;
  }
}

void ThreadTuner::EndTrial(double mean) {
  since_trial_ = 0;
  if (mean < kWorthwhile * usual_) {
    LogInfo("threads of an update: %d in place of %d, because it takes %.1f ms and not %.1f", threads_, chosen_,
            1e3 * mean, 1e3 * usual_);
    usual_ = mean;
    pause_ = kFirstPause;
  } else {
    threads_ = chosen_;
    pause_ = std::clamp(2 * pause_, kFirstPause, kLongestPause);
  }
  chosen_ = 0;
}

}  // namespace headrace
