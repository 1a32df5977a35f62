// The learner's Prometheus metrics.
#ifndef HEADRACE_LEARNER_LEARNER_METRICS_H_
#define HEADRACE_LEARNER_LEARNER_METRICS_H_

#include "absl/status/status.h"
#include "common/log.h"
#include "common/metrics.h"

namespace headrace {

struct LearnerMetrics {
  explicit LearnerMetrics(MetricRegistry& r)
      : updates(r.AddCounter("headrace_learner_updates_total", "Updates done since this process started.")),
        run_updates(
            r.AddGauge("headrace_learner_run_updates", "Updates of the run, over all its starts.", kNotKnownYet)),
        env_steps(r.AddCounter(
            "headrace_learner_env_steps_total",
            "Environment steps inserted into replay, or of pushed gradients, since this process started.")),
        run_env_steps(r.AddGauge("headrace_learner_run_env_steps", "Environment steps of the run, over all its starts.",
                                 kNotKnownYet)),
        divergences(r.AddGauge("headrace_learner_divergences",
                               "Starts of the run that ended because numbers were no longer finite.")),
        diverged_timestamp(
            r.AddGauge("headrace_learner_diverged_timestamp_seconds",
                       "When the last start that headrace_learner_divergences counts ended, in seconds since 1970.",
                       kNotKnownYet)),
        training_timestamp(r.AddGauge("headrace_learner_training_timestamp_seconds",
                                      "When this start of the learner began to train, in seconds since 1970.",
                                      kNotKnownYet)),
        lost_steps(r.AddCounter("headrace_learner_lost_steps_total",
                                "Environment steps that restarted replay shards no longer had.")),
        run_lost_steps(r.AddGauge("headrace_learner_run_lost_steps",
                                  "Environment steps that restarted replay shards no longer had, over all starts of "
                                  "the run.",
                                  kNotKnownYet)),
        stale_items(r.AddCounter("headrace_learner_stale_items_total",
                                 "Items of synchronous rounds that were not used because their policy was no longer "
                                 "the newest.")),
        episodes(r.AddCounter("headrace_learner_episodes_total", "Episodes that actors reported.")),
        interrupted_episodes(r.AddCounter("headrace_learner_interrupted_episodes_total",
                                          "Episodes that ended because their environment failed.")),
        evaluations(r.AddCounter("headrace_learner_evaluations_total", "Evaluations done.")),
        checkpoints(r.AddCounter("headrace_learner_checkpoints_total", "Checkpoints committed.")),
        checkpoint_failures(r.AddCounterFamily("headrace_learner_checkpoint_failures_total",
                                               "Checkpoints that failed, by where they did: a shard did not write its "
                                               "part, or the learner's own disk did not take the files.",
                                               {"cause"})),
        checkpoint(r.AddHistogram("headrace_learner_checkpoint_seconds",
                                  "Time from a checkpoint's cut to its commit; updates go on meanwhile.",
                                  LatencyBuckets())),
        checkpoint_timestamp(r.AddGauge("headrace_learner_checkpoint_timestamp_seconds",
                                        "When the newest checkpoint was committed, in seconds since 1970.",
                                        kNotKnownYet)),
        checkpoint_interval(r.AddGauge("headrace_learner_checkpoint_interval_seconds",
                                       "Time between two checkpoints, as configured; 0: only at the end.")),
        write_failures(r.AddCounter("headrace_learner_write_failures_total",
                                    "Rows, events and best checkpoints that could not be written.")),
        waiting(r.AddCounterFamily("headrace_learner_waiting_seconds_total",
                                   "Time in which no update was done, by what was waited for.", {"what"})),
        housekeeping(r.AddCounter("headrace_learner_housekeeping_seconds_total",
                                  "Time between updates for reports, progress, evaluations and checkpoints.")),
        publishing(r.AddCounter("headrace_learner_publishing_seconds_total", "Time to hand out new weights.")),
        published_bytes(r.AddCounter("headrace_learner_published_bytes_total",
                                     "Bytes of weights handed out, each version counted once.")),
        sampled_bytes(r.AddCounter("headrace_learner_sampled_bytes_total", "Bytes of the batches of all updates.")),
        sample(r.AddHistogram("headrace_learner_sample_seconds",
                              "Time from asking the shards for a batch until all of it was there; of a queue the wait "
                              "for its items too.",
                              LatencyBuckets())),
        batch_wait(r.AddHistogram("headrace_learner_batch_wait_seconds", "Time an update waited for its batch.",
                                  LatencyBuckets())),
        update(r.AddHistogram("headrace_learner_update_seconds",
                              "Time of an update, without the wait for its batch and without publishing.",
                              LatencyBuckets())),
        policy_lag(
            r.AddGauge("headrace_learner_policy_lag_updates",
                       "Updates between the policy that chose the actions of a batch and now: mean of the newest "
                       "batch. With replay this is the age of what is sampled; how far actors are behind is "
                       "headrace_learner_subscriber_lag_updates.",
                       kNotKnownYet)),
        policy_version(
            r.AddGauge("headrace_learner_policy_version", "Updates of the newest published weights.", kNotKnownYet)),
        subscriber_lag(r.AddGauge("headrace_learner_subscriber_lag_updates",
                                  "Updates since the weights of the process furthest behind of those that follow them; "
                                  "with central inference since those that actions are chosen with; of gradients that "
                                  "actors push a running mean.",
                                  kNotKnownYet)),
        run_ended(r.AddGauge("headrace_learner_run_ended",
                             "1 once the run has reached its end and the process only stays, as --stay asks for.")),
        prefetched_batches(r.AddGauge("headrace_learner_prefetched_batches",
                                      "Batches that are ready, the next to be learned from among them.")),
        prefetch_batches(r.AddGauge("headrace_learner_prefetch_batches",
                                    "Batches that may be on their way or ready while another is learned from.")),
        shards(r.AddGauge("headrace_learner_shards", "Replay shards of the run, as configured.")),
        connected_shards(
            r.AddGauge("headrace_learner_connected_shards", "Replay shards that are connected.", kNotKnownYet)),
        subscribers(r.AddGauge("headrace_learner_subscribers", "Processes that follow the weights.")),
        actors(r.AddGauge("headrace_learner_actors", "Actors that hold a lease.")),
        training_return(r.AddGaugeFamily("headrace_learner_training_return",
                                         "Mean return of the newest training episodes, as in progress.csv, of the run "
                                         "with this id: another run may come after it under the same name.",
                                         {"run_id"})),
        training_return_deviation(r.AddGauge("headrace_learner_training_return_deviation",
                                             "Standard deviation of the returns of these episodes.", kNotKnownYet)),
        evaluation_return(
            r.AddGauge("headrace_learner_evaluation_return", "Mean return of the newest evaluation.", kNotKnownYet)),
        losses(r.AddGaugeFamily("headrace_learner_loss",
                                "What the algorithm tells of its newest update, by name: losses, entropies, norms.",
                                {"name"})) {}

  // For what is worth having, but not worth ending a run over.
  void CountWrite(const absl::Status& written) {
    if (written.ok()) return;
    LogError("not written: %s", written.ToString());
    write_failures.Increment();
  }

  prometheus::Counter& updates;
  prometheus::Gauge& run_updates;
  prometheus::Counter& env_steps;
  prometheus::Gauge& run_env_steps;
  prometheus::Gauge& divergences;
  prometheus::Gauge& diverged_timestamp;
  prometheus::Gauge& training_timestamp;
  prometheus::Counter& lost_steps;
  prometheus::Gauge& run_lost_steps;
  prometheus::Counter& stale_items;
  prometheus::Counter& episodes;
  prometheus::Counter& interrupted_episodes;
  prometheus::Counter& evaluations;
  prometheus::Counter& checkpoints;
  // What a checkpoint may fail for.
  struct CheckpointFailures {
    explicit CheckpointFailures(const CounterFamily& family)
        : shard(family.With({"shard"})), disk(family.With({"disk"})) {}
    prometheus::Counter& shard;
    prometheus::Counter& disk;
  } checkpoint_failures;
  prometheus::Histogram& checkpoint;
  prometheus::Gauge& checkpoint_timestamp;
  prometheus::Gauge& checkpoint_interval;
  prometheus::Counter& write_failures;
  // What there is to wait for.
  struct Waiting {
    explicit Waiting(const CounterFamily& family)
        : first_actor(family.With({"first_actor"})),
          shards(family.With({"shards"})),
          actors(family.With({"actors"})),
          items(family.With({"items"})),
          batch(family.With({"batch"})),
          evaluator(family.With({"evaluator"})) {}
    prometheus::Counter& first_actor;
    prometheus::Counter& shards;
    prometheus::Counter& actors;
    prometheus::Counter& items;
    prometheus::Counter& batch;
    prometheus::Counter& evaluator;
  } waiting;
  prometheus::Counter& housekeeping;
  prometheus::Counter& publishing;
  prometheus::Counter& published_bytes;
  prometheus::Counter& sampled_bytes;
  prometheus::Histogram& sample;
  prometheus::Histogram& batch_wait;
  prometheus::Histogram& update;
  prometheus::Gauge& policy_lag;
  prometheus::Gauge& policy_version;
  prometheus::Gauge& subscriber_lag;
  prometheus::Gauge& run_ended;
  prometheus::Gauge& prefetched_batches;
  prometheus::Gauge& prefetch_batches;
  prometheus::Gauge& shards;
  prometheus::Gauge& connected_shards;
  prometheus::Gauge& subscribers;
  prometheus::Gauge& actors;
  GaugeFamily training_return;
  prometheus::Gauge& training_return_deviation;
  prometheus::Gauge& evaluation_return;
  GaugeFamily losses;
};

}  // namespace headrace

#endif  // HEADRACE_LEARNER_LEARNER_METRICS_H_
