// Nanoseconds that recording a metric takes: one JSON object a line. The reference is reading the clock, which nobody
// hesitates to do.
#include <algorithm>
#include <chrono>
#include <iostream>
#include <string>

#include "common/metrics.h"
#include "nlohmann/json.hpp"

namespace headrace {
namespace {

using Clock = std::chrono::steady_clock;

// The best of some rounds: whatever else runs on the machine only adds.
template <typename Function>
double Nanoseconds(Function&& function) {
  constexpr int kRounds = 7;
  constexpr int kCalls = 1'000'000;
  double best = 1e9;
  for (int round = 0; round < kRounds; ++round) {
    const Clock::time_point begin = Clock::now();
    for (int call = 0; call < kCalls; ++call) function(call);
    best = std::min(best, std::chrono::duration<double, std::nano>(Clock::now() - begin).count() / kCalls);
  }
  return best;
}

void MeasureAll() {
  MetricRegistry registry("bench");
  prometheus::Counter& counter = registry.AddCounter("headrace_bench_total", "A counter.");
  prometheus::Gauge& gauge = registry.AddGauge("headrace_bench_value", "A gauge.");
  prometheus::Histogram& histogram = registry.AddHistogram("headrace_bench_seconds", "A histogram.", LatencyBuckets());
  Clock::time_point last;
  const double clock = Nanoseconds([&](int) {
    last = Clock::now();
    asm volatile("" : : "r"(&last) : "memory");
  });
  const auto report = [clock](const std::string& what, double nanoseconds) {
    const nlohmann::json line = {
        {"name", "metrics/" + what}, {"value", nanoseconds}, {"unit", "ns"}, {"reference", clock}};
    std::cout << line.dump() << "\n";
  };
  report("counter", Nanoseconds([&](int) { counter.Increment(); }));
  report("gauge", Nanoseconds([&](int call) { gauge.Set(call); }));
  report("histogram", Nanoseconds([&](int call) { histogram.Observe(1e-6 * call); }));
}

}  // namespace
}  // namespace headrace

int main() {
  headrace::MeasureAll();
  return 0;
}
