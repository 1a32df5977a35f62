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
        clients(r.AddGauge("headrace_inference_clients", "Actors that are connected.")),
        held_back(r.AddGauge("headrace_inference_held_back", "Actors that the autotuner holds back.")),
        tuned(
            r.AddGaugeFamily("headrace_inference_tuned",
                             "What the autotuner has set each knob to now: threads that run the policy, threads of an "
                             "update, actors that act.",
                             {"knob"})),
        trials(r.AddCounter("headrace_inference_trials_total", "Settings that the autotuner has tried.")),
        rollbacks(
            r.AddCounter("headrace_inference_rollbacks_total", "Settings that the autotuner has tried and not kept.")),
        learned_steps_per_second(r.AddGauge("headrace_inference_learned_steps_per_second",
                                            "Environment steps that updates have used, a second, as the autotuner has "
                                            "last measured them.",
                                            kNotKnownYet)) {}

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
  prometheus::Gauge& held_back;
  GaugeFamily tuned;
  prometheus::Counter& trials;
  prometheus::Counter& rollbacks;
  prometheus::Gauge& learned_steps_per_second;
};

}  // namespace headrace

#endif  // HEADRACE_LEARNER_INFERENCE_METRICS_H_
