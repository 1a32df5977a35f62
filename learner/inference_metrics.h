// The Prometheus metrics of central inference, which are the learner's where it has one.
#ifndef HEADRACE_LEARNER_INFERENCE_METRICS_H_
#define HEADRACE_LEARNER_INFERENCE_METRICS_H_

#include <vector>

#include "common/metrics.h"

namespace headrace {

struct InferenceMetrics {
  explicit InferenceMetrics(MetricRegistry& r)
      : batch_size(r.AddHistogram("headrace_inference_batch_size", "Environments in a batch.", BatchSizeBuckets())),
        latency(r.AddHistogramFamily("headrace_inference_latency_seconds",
                                     "Where a request's time went: until its batch was taken up, until weights and "
                                     "batch were ready, in the network, and until the answer had left.",
                                     {"part"}, LatencyBuckets())),
        requests(r.AddCounter("headrace_inference_requests_total", "Requests answered.")),
        refused(r.AddCounter("headrace_inference_refused_total", "Streams ended because of what was asked.")),
        clients(r.AddGauge("headrace_inference_clients", "Actors that are connected.")) {}

  // 1, 2, 4, ... environments.
  static std::vector<double> BatchSizeBuckets() {
    std::vector<double> buckets;
    for (double size = 1; size <= 65536; size *= 2) buckets.push_back(size);
    return buckets;
  }

  prometheus::Histogram& batch_size;
  struct Latency {
    explicit Latency(const HistogramFamily& family)
        : queue(family.With({"queue"})),
          assemble(family.With({"assemble"})),
          compute(family.With({"compute"})),
          reply(family.With({"reply"})) {}
    prometheus::Histogram& queue;
    prometheus::Histogram& assemble;
    prometheus::Histogram& compute;
    prometheus::Histogram& reply;
  } latency;
  prometheus::Counter& requests;
  prometheus::Counter& refused;
  prometheus::Gauge& clients;
};

}  // namespace headrace

#endif  // HEADRACE_LEARNER_INFERENCE_METRICS_H_
