// The learner's Prometheus metrics.
#ifndef HEADRACE_LEARNER_LEARNER_METRICS_H_
#define HEADRACE_LEARNER_LEARNER_METRICS_H_

#include "common/metrics.h"

namespace headrace {

struct LearnerMetrics {
  explicit LearnerMetrics(MetricRegistry& r)
      : updates(r.AddCounter("headrace_learner_updates_total", "Updates done, over all starts of the run.")),
        env_steps(r.AddCounter("headrace_learner_env_steps_total",
                               "Environment steps inserted into replay, over all starts of the run.")),
        lost_steps(r.AddCounter("headrace_learner_lost_steps_total",
                                "Environment steps that restarted replay shards no longer had.")),
        episodes(r.AddCounter("headrace_learner_episodes_total", "Episodes that actors reported.")),
        interrupted_episodes(r.AddCounter("headrace_learner_interrupted_episodes_total",
                                          "Episodes that ended because their environment failed.")),
        evaluations(r.AddCounter("headrace_learner_evaluations_total", "Evaluations done.")),
        checkpoints(r.AddCounter("headrace_learner_checkpoints_total", "Checkpoints committed.")),
        checkpoint_failures(r.AddCounter("headrace_learner_checkpoint_failures_total", "Checkpoints that failed.")),
        batch_wait(r.AddHistogram("headrace_learner_batch_wait_seconds", "Time an update waited for its batch.",
                                  LatencyBuckets())),
        update(r.AddHistogram("headrace_learner_update_seconds", "Time of an update, without the wait for its batch.",
                              LatencyBuckets())),
        policy_lag(r.AddGauge(
            "headrace_learner_policy_lag_updates",
            "Updates between the policy that chose the actions of a batch and now: mean of the newest batch.")),
        policy_version(r.AddGauge("headrace_learner_policy_version", "Updates of the newest published weights.")),
        prefetched_batches(r.AddGauge("headrace_learner_prefetched_batches", "Batches that are ready.")),
        subscribers(r.AddGauge("headrace_learner_subscribers", "Processes that follow the weights.")),
        actors(r.AddGauge("headrace_learner_actors", "Actors that hold a lease.")),
        evaluation_return(r.AddGauge("headrace_learner_evaluation_return", "Mean return of the newest evaluation.")) {}

  prometheus::Counter& updates;
  prometheus::Counter& env_steps;
  prometheus::Counter& lost_steps;
  prometheus::Counter& episodes;
  prometheus::Counter& interrupted_episodes;
  prometheus::Counter& evaluations;
  prometheus::Counter& checkpoints;
  prometheus::Counter& checkpoint_failures;
  prometheus::Histogram& batch_wait;
  prometheus::Histogram& update;
  prometheus::Gauge& policy_lag;
  prometheus::Gauge& policy_version;
  prometheus::Gauge& prefetched_batches;
  prometheus::Gauge& subscribers;
  prometheus::Gauge& actors;
  prometheus::Gauge& evaluation_return;
};

}  // namespace headrace

#endif  // HEADRACE_LEARNER_LEARNER_METRICS_H_
