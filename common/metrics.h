// The Prometheus metrics of a process. Each process declares its own in one struct, whose initialisers are the table of
// their names, help texts and labels:
//
//   struct LearnerMetrics {
//     explicit LearnerMetrics(MetricRegistry& r)
//         : updates(r.AddCounter("headrace_learner_updates_total", "Gradient updates done.")),
//           update(r.AddHistogram("headrace_learner_update_seconds", "Time of an update.", LatencyBuckets())) {}
//     prometheus::Counter& updates;
//     prometheus::Histogram& update;
//   };
//
// Names begin with headrace_, are in base units, and end in _total if and only if they are counters. A name that breaks
// this, or is used twice, is a bug and ends the process.
//
// Thread-safe. Updating a metric takes nanoseconds; With looks the labels up and is for set-up: keep what it returns.
#ifndef HEADRACE_COMMON_METRICS_H_
#define HEADRACE_COMMON_METRICS_H_

#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"
#include "prometheus/counter.h"
#include "prometheus/family.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"

namespace headrace {

// What a gauge shows while there is nothing yet that it could show: zero would look like a figure.
inline constexpr double kNotKnownYet = std::numeric_limits<double>::quiet_NaN();

// Upper bounds 1, 2 and 5 times the powers of ten from 10 microseconds to 10 seconds, then 30 seconds and a minute.
std::vector<double> LatencyBuckets();

// Metrics of one name that differ in the values of their labels. Cheap to copy; valid as long as the registry.
class CounterFamily {
 public:
  // One value for each label, in the order of declaration. The same values return the same metric.
  prometheus::Counter& With(const std::vector<std::string>& values) const;

 private:
  friend class MetricRegistry;
  prometheus::Family<prometheus::Counter>* family_;
  std::vector<std::string> labels_;
};

class GaugeFamily {
 public:
  prometheus::Gauge& With(const std::vector<std::string>& values) const;
  // Takes the metric off the page, for instance that of an actor which is gone; references to it are then invalid.
  void Remove(prometheus::Gauge& metric) const;

 private:
  friend class MetricRegistry;
  prometheus::Family<prometheus::Gauge>* family_;
  std::vector<std::string> labels_;
};

class HistogramFamily {
 public:
  prometheus::Histogram& With(const std::vector<std::string>& values) const;

 private:
  friend class MetricRegistry;
  prometheus::Family<prometheus::Histogram>* family_;
  std::vector<std::string> labels_;
  std::vector<double> buckets_;
};

// What a metric is, for its documentation.
struct MetricDescription {
  std::string name;
  std::string type;  // "counter", "gauge" or "histogram"
  std::string help;
  std::vector<std::string> labels;
};

class MetricRegistry {
 public:
  // `role` is what the process is to the run. Has headrace_build_info{role, version, revision} and the process_...
  // metrics from the start.
  explicit MetricRegistry(const std::string& role);

  prometheus::Counter& AddCounter(const std::string& name, const std::string& help);
  prometheus::Gauge& AddGauge(const std::string& name, const std::string& help, double initial = 0);
  prometheus::Histogram& AddHistogram(const std::string& name, const std::string& help, std::vector<double> buckets);

  CounterFamily AddCounterFamily(const std::string& name, const std::string& help, std::vector<std::string> labels);
  GaugeFamily AddGaugeFamily(const std::string& name, const std::string& help, std::vector<std::string> labels);
  HistogramFamily AddHistogramFamily(const std::string& name, const std::string& help, std::vector<std::string> labels,
                                     std::vector<double> buckets);

  // Called before each page is made, by one thread at a time, to set what is found out only then. What it captures must
  // outlive the registry and its servers.
  void OnPage(std::function<void()> refresh) ABSL_LOCKS_EXCLUDED(refreshes_mutex_);

  // Of everything that was added, and of the process_... metrics, in alphabetical order.
  std::vector<MetricDescription> Descriptions() const ABSL_LOCKS_EXCLUDED(mutex_);
  // The page as Prometheus scrapes it.
  std::string Text() const ABSL_LOCKS_EXCLUDED(refreshes_mutex_);

 private:
  void Declare(const std::string& name, const std::string& type, const std::string& help,
               const std::vector<std::string>& labels) ABSL_LOCKS_EXCLUDED(mutex_);

  prometheus::Registry registry_;
  mutable Mutex refreshes_mutex_;
  std::vector<std::function<void()>> refreshes_ ABSL_GUARDED_BY(refreshes_mutex_);
  mutable Mutex mutex_ ABSL_ACQUIRED_AFTER(refreshes_mutex_);
  std::map<std::string, MetricDescription> declared_ ABSL_GUARDED_BY(mutex_);  // by name
};

}  // namespace headrace

#endif  // HEADRACE_COMMON_METRICS_H_
