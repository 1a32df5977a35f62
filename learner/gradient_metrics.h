// The Prometheus metrics of asynchronous gradients, which are the learner's where actors push them.
#ifndef HEADRACE_LEARNER_GRADIENT_METRICS_H_
#define HEADRACE_LEARNER_GRADIENT_METRICS_H_

#include <vector>

#include "common/metrics.h"

namespace headrace {

struct GradientMetrics {
  explicit GradientMetrics(MetricRegistry& r)
      : gradients(r.AddCounterFamily("headrace_gradients_total",
                                     "Gradients that actors pushed, by what became of them.", {"verdict"})),
        refused(r.AddCounter("headrace_gradients_refused_total", "Streams of gradients ended because of what came.")),
        staleness(r.AddHistogram("headrace_gradient_staleness_updates",
                                 "Updates between the weights that a gradient was computed with and those that it met.",
                                 StalenessBuckets())),
        clients(r.AddGauge("headrace_gradient_clients", "Actors that are connected to push gradients.")) {}

  // 0, 1, 2, 4, ... updates.
  static std::vector<double> StalenessBuckets() {
    std::vector<double> buckets = {0};
    for (double updates = 1; updates <= 4096; updates *= 2) buckets.push_back(updates);
    return buckets;
  }

  struct Verdicts {
    explicit Verdicts(const CounterFamily& family)
        : applied(family.With({"applied"})), stale(family.With({"stale"})), not_finite(family.With({"not_finite"})) {}
    prometheus::Counter& applied;
    prometheus::Counter& stale;
    prometheus::Counter& not_finite;
  } gradients;
  prometheus::Counter& refused;
  prometheus::Histogram& staleness;
  prometheus::Gauge& clients;
};

}  // namespace headrace

#endif  // HEADRACE_LEARNER_GRADIENT_METRICS_H_
