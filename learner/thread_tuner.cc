#include "learner/thread_tuner.h"

#include <algorithm>
#include <thread>

#include "common/log.h"

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
  return ThreadTuner(static_cast<int>(std::thread::hardware_concurrency()),
                     !config.deterministic() && config.device() == "cpu");
}

void ThreadTuner::Add(double seconds) {
  if (!chooses_) return;
  ++window_.updates;
  window_.seconds += seconds;
  since_trial_ += seconds;
  const double limit = trying_ ? kHopeless * kUpdates * usual_ : kLongWindow;
  if (window_.updates < kUpdates && window_.seconds < limit) return;
  const double mean = window_.seconds / window_.updates;
  window_ = {};
  trying_ ? EndTrial(mean) : Consider(mean);
}

void ThreadTuner::Consider(double mean) {
  const bool first = usual_ == 0;  // it has all that is done only once, and decides nothing
  const bool slowed = mean > kSlowed * usual_;
  usual_ = mean;
  if (first || (since_trial_ < pause_ && !slowed)) return;
  trying_ = true;
  threads_ = Other();
}

void ThreadTuner::EndTrial(double mean) {
  trying_ = false;
  since_trial_ = 0;
  if (mean < kWorthwhile * usual_) {
    LogInfo("an update takes %.1f ms with %d threads and %.1f ms with %d: changed to that", 1e3 * usual_, Other(),
            1e3 * mean, threads_);
    usual_ = mean;
    pause_ = kFirstPause;
  } else {
    threads_ = Other();
    pause_ = std::clamp(2 * pause_, kFirstPause, kLongestPause);
  }
}

}  // namespace headrace
