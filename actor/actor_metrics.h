// An actor's Prometheus metrics.
#ifndef HEADRACE_ACTOR_ACTOR_METRICS_H_
#define HEADRACE_ACTOR_ACTOR_METRICS_H_

#include "common/metrics.h"

namespace headrace {

struct ActorMetrics {
  explicit ActorMetrics(MetricRegistry& r)
      : env_steps(r.AddCounter("headrace_actor_env_steps_total", "Environment steps taken.")),
        episodes(r.AddCounter("headrace_actor_episodes_total", "Episodes finished.")),
        interrupted_episodes(r.AddCounter("headrace_actor_interrupted_episodes_total",
                                          "Episodes that ended because the environment failed.")),
        dropped_steps(r.AddCounter("headrace_actor_dropped_steps_total",
                                   "Environment steps that were not recorded because replay was behind.")),
        dropped_episode_reports(r.AddCounter("headrace_actor_dropped_episode_reports_total",
                                             "Episodes that the learner was not told of because it was away.")),
        episode_return(r.AddGauge("headrace_actor_episode_return", "Mean return of recent episodes.", kNotKnownYet)),
        blocked_seconds(r.AddCounter("headrace_actor_inserts_blocked_seconds_total",
                                     "Time that stepping stood still because replay took nothing more.")),
        policy_wait_seconds(r.AddCounter("headrace_actor_policy_wait_seconds_total",
                                         "Time that stepping stood still for the next round's policy.")),
        fallback_steps(r.AddCounter("headrace_actor_fallback_steps_total",
                                    "Environment steps taken with a fallback action because the learner's came late.")),
        policy_seconds(r.AddCounter("headrace_actor_policy_seconds_total", "Time spent on choosing actions.")),
        step_seconds(r.AddCounter("headrace_actor_step_seconds_total", "Time spent in the environments.")),
        policy_version(r.AddGauge("headrace_actor_policy_version", "Updates of the weights in use.", kNotKnownYet)),
        unacknowledged_bytes(
            r.AddGauge("headrace_actor_unacknowledged_bytes", "Bytes sent to replay that it has not acknowledged.")),
        reconnects(r.AddGauge("headrace_actor_replay_reconnects", "Times the connection to replay was made again.")) {}

  prometheus::Counter& env_steps;
  prometheus::Counter& episodes;
  prometheus::Counter& interrupted_episodes;
  prometheus::Counter& dropped_steps;
  prometheus::Counter& dropped_episode_reports;
  prometheus::Gauge& episode_return;
  prometheus::Counter& blocked_seconds;
  prometheus::Counter& policy_wait_seconds;
  prometheus::Counter& fallback_steps;
  prometheus::Counter& policy_seconds;
  prometheus::Counter& step_seconds;
  prometheus::Gauge& policy_version;
  prometheus::Gauge& unacknowledged_bytes;
  prometheus::Gauge& reconnects;
};

}  // namespace headrace

#endif  // HEADRACE_ACTOR_ACTOR_METRICS_H_
