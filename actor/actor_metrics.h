// An actor's Prometheus metrics.
#ifndef HEADRACE_ACTOR_ACTOR_METRICS_H_
#define HEADRACE_ACTOR_ACTOR_METRICS_H_

#include "common/metrics.h"

namespace headrace {

struct ActorMetrics {
  explicit ActorMetrics(MetricRegistry& r)
      : env_steps(r.AddCounter("headrace_actor_env_steps_total", "Environment steps taken.")),
        episodes(r.AddCounter("headrace_actor_episodes_total", "Episodes finished.")),
        interrupted_episodes(r.AddCounterFamily("headrace_actor_interrupted_episodes_total",
                                                "Episodes that ended because the environment failed, by how it did: "
                                                "it threw an exception, or gave what is no number.",
                                                {"cause"})),
        dropped_steps(r.AddCounter("headrace_actor_dropped_steps_total",
                                   "Environment steps that were not recorded because replay was behind.")),
        dropped_episodes(r.AddCounter("headrace_actor_dropped_episodes_total",
                                      "Episodes whose rest, or all of which, was not recorded because replay was "
                                      "behind.")),
        dropped_episode_reports(r.AddCounter("headrace_actor_dropped_episode_reports_total",
                                             "Episodes that the learner was not told of because it was away.")),
        episode_return(r.AddGauge("headrace_actor_episode_return", "Mean return of recent episodes.", kNotKnownYet)),
        blocked_seconds(r.AddCounter("headrace_actor_inserts_blocked_seconds_total",
                                     "Time that stepping stood still because replay took nothing more.")),
        policy_wait_seconds(
            r.AddCounter("headrace_actor_policy_wait_seconds_total",
                         "Time that stepping stood still for weights: the next round's, or in answer to a gradient.")),
        fallback_steps(r.AddCounter("headrace_actor_fallback_steps_total",
                                    "Environment steps taken with a fallback action because the learner's came late.")),
        held_back(r.AddGauge("headrace_actor_held_back",
                             "1 while the learner's autotuner lets this actor wait, otherwise 0.")),
        policy_seconds(r.AddCounter("headrace_actor_policy_seconds_total", "Time spent on choosing actions.")),
        step_seconds(r.AddCounter("headrace_actor_step_seconds_total", "Time spent in the environments.")),
        record_seconds(r.AddCounter("headrace_actor_record_seconds_total",
                                    "Time spent on recording steps and handing them over, without standing still.")),
        update_seconds(r.AddCounter("headrace_actor_update_seconds_total",
                                    "Time spent on gradients, by actors that learn by themselves.")),
        sent_bytes(r.AddCounter("headrace_actor_sent_bytes_total",
                                "Bytes of experience sent to replay, or of gradients to the learner.")),
        policy_timestamp(r.AddGauge("headrace_actor_policy_timestamp_seconds",
                                    "When the weights in use came, in seconds since 1970.", kNotKnownYet)),
        policy_version(r.AddGauge("headrace_actor_policy_version", "Updates of the weights in use.", kNotKnownYet)),
        unacknowledged_bytes(
            r.AddGauge("headrace_actor_unacknowledged_bytes", "Bytes sent to replay that it has not acknowledged.")),
        window_bytes(r.AddGauge("headrace_actor_window_bytes",
                                "Bytes that may be unacknowledged before stepping stands still.")),
        reconnects(
            r.AddCounter("headrace_actor_replay_reconnects_total", "Times the connection to replay was made again.")),
        moves(r.AddCounter("headrace_actor_replay_moves_total",
                           "Times experience went to another replay shard, or back, because one was away.")) {}

  // Weights that have just come into use.
  void CountPolicy(uint64_t updates) {
    policy_version.Set(static_cast<double>(updates));
    policy_timestamp.SetToCurrentTime();
  }

  prometheus::Counter& env_steps;
  prometheus::Counter& episodes;
  // How an environment may fail.
  struct InterruptedEpisodes {
    explicit InterruptedEpisodes(const CounterFamily& family)
        : exception(family.With({"exception"})), not_a_number(family.With({"not_a_number"})) {}
    prometheus::Counter& exception;
    prometheus::Counter& not_a_number;
  } interrupted_episodes;
  prometheus::Counter& dropped_steps;
  prometheus::Counter& dropped_episodes;
  prometheus::Counter& dropped_episode_reports;
  prometheus::Gauge& episode_return;
  prometheus::Counter& blocked_seconds;
  prometheus::Counter& policy_wait_seconds;
  prometheus::Counter& fallback_steps;
  prometheus::Gauge& held_back;
  prometheus::Counter& policy_seconds;
  prometheus::Counter& step_seconds;
  prometheus::Counter& record_seconds;
  prometheus::Counter& update_seconds;
  prometheus::Counter& sent_bytes;
  prometheus::Gauge& policy_timestamp;
  prometheus::Gauge& policy_version;
  prometheus::Gauge& unacknowledged_bytes;
  prometheus::Gauge& window_bytes;
  prometheus::Counter& reconnects;
  prometheus::Counter& moves;
};

// Of a process that evaluates.
struct EvaluatorMetrics {
  explicit EvaluatorMetrics(MetricRegistry& r)
      : evaluations(r.AddCounter("headrace_evaluator_evaluations_total", "Evaluations done.")),
        failures(r.AddCounter("headrace_evaluator_failures_total", "Evaluations that failed.")),
        episodes(r.AddCounter("headrace_evaluator_episodes_total", "Episodes played.")),
        env_steps(r.AddCounter("headrace_evaluator_env_steps_total", "Environment steps taken.")),
        evaluation(
            r.AddHistogram("headrace_evaluator_evaluation_seconds", "Time of an evaluation.", LatencyBuckets())) {}

  prometheus::Counter& evaluations;
  prometheus::Counter& failures;
  prometheus::Counter& episodes;
  prometheus::Counter& env_steps;
  prometheus::Histogram& evaluation;
};

}  // namespace headrace

#endif  // HEADRACE_ACTOR_ACTOR_METRICS_H_
