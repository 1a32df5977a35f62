"""What the dashboards show: the one description, from which generate.py makes Grafana's and Prometheus' own.

In expressions WINDOW is the time over which rates are taken, and RUN the run that is looked at. A legend names labels in
square brackets.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Query:
    expression: str
    legend: str


@dataclass(frozen=True)
class Panel:
    title: str
    unit: str  # short, seconds, bytes, share, per second, bytes per second, updates
    queries: list[Query]
    help: str = ""
    # "curve"; "tile" for one figure; "words" for the legend of the newest value, which has a heading before a colon.
    kind: str = "curve"


@dataclass(frozen=True)
class Dashboard:
    name: str
    title: str
    panels: list[Panel] = field(default_factory=list)
    # Of what not every run has: series that are there where it is, and what to say where they are not.
    needs: str = ""
    without: str = ""


def rate(metric: str, by: str = "run", labels: str = "") -> str:
    return f'sum by ({by}) (rate({metric}{{run=~"RUN"{labels}}}[WINDOW]))'


def value(metric: str, labels: str = "") -> str:
    return f'{metric}{{run=~"RUN"{labels}}}'


def quantile(q: float, histogram: str, by: str = "run", labels: str = "") -> str:
    return f"histogram_quantile({q}, {rate(histogram + '_bucket', f'{by}, le', labels)})"


def mean(histogram: str, by: str = "run") -> str:
    return f"{rate(histogram + '_sum', by)} / {rate(histogram + '_count', by)}"


def known(metric: str) -> str:
    """Without the processes that have no value yet: NaN is not greater than anything."""
    return f"({value(metric)} > -Inf)"


def total(metric: str, by: str = "run") -> str:
    return f"sum by ({by}) ({value(metric)})"


RETURNS = Panel(
    "Return",
    "short",
    [
        Query(value("headrace_learner_training_return"), "training"),
        Query(value("headrace_learner_evaluation_return"), "evaluation"),
    ],
    "Is it learning? Mean return of the newest training episodes, and of the newest evaluation.",
)
STEPS = Panel(
    "Environment steps",
    "per second",
    [Query(rate("headrace_actor_env_steps_total"), "environment steps")],
    "How fast is it?",
)
UPDATES = Panel("Updates", "per second", [Query(rate("headrace_learner_updates_total"), "updates")])
LIMIT = Panel(
    "What limits the run",
    "share",
    [Query(value("headrace:limit:share"), "[component]")],
    "Share of the learner's time that goes to each component, or to waiting for it: the largest limits the run.",
)
LEARNER_TIME = Panel(
    "The learner's time",
    "share",
    [Query(value("headrace:learner_seconds:share"), "[part]")],
    "data: waiting for experience; sampling: waiting for batches that were asked for.",
)
ACTOR_TIME = Panel(
    "The actors' time",
    "share",
    [Query(value("headrace:actor_seconds:share"), "[part]")],
    "blocked: replay takes nothing more; policy_wait: weights that are waited for have not come.",
)
POLICY_LAG = Panel(
    "Policy lag of actors",
    "updates",
    [Query(value("headrace_learner_subscriber_lag_updates"), "furthest behind")],
    "How many updates the weights of the actor furthest behind are older than the learner's; of pushed gradients a "
    "running mean.",
)
FILL = Panel(
    "Replay",
    "short",
    [
        Query(total("headrace_replay_stored_items"), "items"),
        Query(total("headrace_replay_capacity_items"), "capacity"),
    ],
    "Items that can be sampled; of a queue those that wait in it.",
)
QUEUES = Panel(
    "On their way",
    "short",
    [
        Query(value("headrace_learner_prefetched_batches"), "batches ready"),
        Query(total("headrace_replay_blocked_writers"), "actors that must wait"),
    ],
)
# While processes answer; of what has ended there is nothing to be said.
ZERO = '0 * max(headrace_build_info{run=~"RUN"})'
FIRING = 'ALERTS{alertstate="firing", severity!="info", run=~"RUN"}'
# Of a run that no process answers for any more there is nothing to be said, and neither that nothing is wrong.
FIRING_OR_NOTHING = (
    f"{FIRING} or on () "
    f'label_replace({ZERO}, "alertname", "nothing", "", "") or on () '
    'label_replace(vector(0), "alertname", "no process answers", "", "")'
)
UP = 'up{job=~"headrace.*", run=~"RUN"}'
ALERTS = Panel(
    "Is anything wrong?",
    "short",
    [
        Query(f"count({FIRING}) or {ZERO}", "alerts"),
        # Prometheus is told of them before they are started.
        Query(f"count({UP} == 0 and {UP} offset 20s == 0) or {ZERO}", "processes that do not answer"),
        Query(total("headrace_learner_interrupted_episodes_total"), "episodes that failed"),
        Query(total("headrace_learner_lost_steps_total"), "steps lost"),
        Query(total("headrace_learner_checkpoint_failures_total", "run, cause"), "checkpoints that failed: [cause]"),
        Query(total("headrace_learner_write_failures_total"), "rows and events not written"),
        Query(total("headrace_evaluator_failures_total"), "evaluations that failed"),
        Query(total("headrace_grpc_refusals_total"), "connections refused"),
        Query(total("headrace_rpc_unheard_calls"), "calls that came to no service"),
    ],
    "All of them should be 0.",
)

OVERVIEW = Dashboard(
    "overview",
    "Overview",
    [
        Panel(
            "Is it learning?",
            "short",
            [Query(value("headrace_learner_training_return"), "training return")],
            kind="tile",
        ),
        Panel(
            "How fast?",
            "per second",
            [Query(rate("headrace_actor_env_steps_total"), "environment steps")],
            kind="tile",
        ),
        Panel(
            "Which side is slow?",
            "share",
            [Query(value("headrace:limited_by:share"), "[component]: [advice]")],
            kind="words",
        ),
        Panel("Is anything wrong?", "short", [Query(FIRING_OR_NOTHING, "[alertname]: [process] [reason]")], kind="words"),
        RETURNS,
        STEPS,
        LIMIT,
        UPDATES,
        POLICY_LAG,
        FILL,
        LEARNER_TIME,
        ACTOR_TIME,
        QUEUES,
        ALERTS,
    ],
)

REPLAY = Dashboard(
    "replay",
    "Replay",
    [
        FILL,
        Panel(
            "Memory",
            "bytes",
            [
                Query(total("headrace_replay_stored_bytes", "run, shard"), "shard [shard]"),
                Query(total("headrace_replay_budget_bytes", "run, shard"), "budget of shard [shard]"),
                Query(value("process_resident_memory_bytes", ', job="headrace_replay"'), "all that [process] takes"),
            ],
        ),
        Panel(
            "Inserted",
            "per second",
            [Query(rate("headrace_replay_inserted_steps_total", "run, shard"), "shard [shard]")],
            "Environment steps.",
        ),
        Panel(
            "Sampled",
            "per second",
            [Query(rate("headrace_replay_sampled_steps_total", "run, shard"), "shard [shard]")],
            "Environment steps.",
        ),
        Panel(
            "Samples per insert",
            "short",
            [Query(value("headrace:samples_per_insert:ratio"), "sampled for each inserted")],
        ),
        Panel(
            "Writers",
            "short",
            [
                Query(total("headrace_replay_writers", "run, shard"), "at shard [shard]"),
                Query(total("headrace_replay_blocked_writers", "run, shard"), "waiting at shard [shard]"),
            ],
        ),
        Panel(
            "Removed and lost items",
            "per second",
            [
                Query(rate("headrace_replay_removed_items_total"), "removed"),
                Query(rate("headrace_replay_budget_removed_items_total"), "of them for want of bytes"),
                Query(rate("headrace_replay_lost_items_total"), "lost"),
            ],
        ),
        Panel(
            "Priorities",
            "per second",
            [
                Query(rate("headrace_replay_priority_updates_total"), "set"),
                Query(rate("headrace_replay_unknown_priority_keys_total"), "of items that were gone"),
            ],
        ),
        Panel(
            "Calls ended",
            "per second",
            [Query(rate("headrace_rpc_ended_total", "method, code", ', job="headrace_replay"'), "[method] [code]")],
        ),
        Panel(
            "Processor",
            "short",
            [Query(rate("process_cpu_seconds_total", "process", ', job="headrace_replay"'), "[process]")],
            "Cores in use.",
        ),
    ],
    needs=value("headrace_build_info", ', role="replay"'),
    without="This run has no replay shards: its actors compute gradients and push them to the learner "
    "(topology: ASYNCHRONOUS_GRADIENTS).",
)

LEARNER = Dashboard(
    "learner",
    "Learner",
    [
        RETURNS,
        UPDATES,
        LEARNER_TIME,
        Panel(
            "Waiting, by what is waited for",
            "share",
            [Query(rate("headrace_learner_waiting_seconds_total", "what"), "[what]")],
        ),
        Panel(
            "Time of an update",
            "seconds",
            [
                Query(quantile(0.5, "headrace_learner_update_seconds"), "median"),
                Query(quantile(0.99, "headrace_learner_update_seconds"), "99 in 100 are faster"),
            ],
        ),
        Panel(
            "Latency of sampling",
            "seconds",
            [
                Query(quantile(0.5, "headrace_learner_sample_seconds"), "median"),
                Query(quantile(0.99, "headrace_learner_sample_seconds"), "99 in 100 are faster"),
            ],
            "From asking the shards for a batch until all of it is there.",
        ),
        Panel(
            "An update's wait for its batch",
            "seconds",
            [
                Query(quantile(0.5, "headrace_learner_batch_wait_seconds"), "median"),
                Query(quantile(0.99, "headrace_learner_batch_wait_seconds"), "99 in 100 are faster"),
            ],
            "Next to nothing where batches that were asked for earlier come in time.",
        ),
        Panel("Losses", "short", [Query(value("headrace_learner_loss"), "[name]")]),
        Panel(
            "Age of sampled data",
            "updates",
            [Query(value("headrace_learner_policy_lag_updates"), "mean of a batch")],
        ),
        Panel(
            "Too old to be learned from",
            "per second",
            [Query(rate("headrace_learner_stale_items_total"), "items of synchronous rounds")],
        ),
        Panel(
            "Bytes",
            "bytes per second",
            [
                Query(rate("headrace_learner_sampled_bytes_total"), "batches"),
                Query(rate("headrace_learner_published_bytes_total"), "weights"),
            ],
        ),
        Panel(
            "Checkpoints",
            "seconds",
            [
                Query(f"time() - {known('headrace_learner_checkpoint_timestamp_seconds')}", "age of the newest"),
                Query(value("headrace_learner_checkpoint_interval_seconds"), "interval"),
                Query(mean("headrace_learner_checkpoint_seconds"), "time that one takes"),
            ],
        ),
        Panel(
            "Evaluations",
            "seconds",
            [Query(mean("headrace_evaluator_evaluation_seconds"), "time that one takes")],
        ),
        Panel(
            "Who is there",
            "short",
            [
                Query(value("headrace_learner_actors"), "actors"),
                Query(value("headrace_learner_connected_shards"), "shards"),
                Query(value("headrace_learner_subscribers"), "subscribers to weights"),
            ],
        ),
        Panel(
            "Memory",
            "bytes",
            [Query(value("process_resident_memory_bytes", ', job="headrace_learner"'), "[process]")],
        ),
    ],
)

ACTORS = Dashboard(
    "actors",
    "Actors",
    [
        Panel(
            "Environment steps",
            "per second",
            [Query(rate("headrace_actor_env_steps_total", "process"), "[process]")],
        ),
        Panel(
            "Return",
            "short",
            [Query(known("headrace_actor_episode_return"), "[process]")],
            "Mean of recent episodes.",
        ),
        ACTOR_TIME,
        Panel(
            "Standing still",
            "share",
            [
                Query(rate("headrace_actor_inserts_blocked_seconds_total", "process"), "[process]: replay is full"),
                Query(rate("headrace_actor_policy_wait_seconds_total", "process"), "[process]: no new weights"),
            ],
        ),
        POLICY_LAG,
        Panel(
            "Age of the weights in use",
            "seconds",
            [Query(f"time() - {known('headrace_actor_policy_timestamp_seconds')}", "[process]")],
        ),
        Panel("Episodes", "per second", [Query(rate("headrace_actor_episodes_total", "process"), "[process]")]),
        Panel(
            "Episodes that failed",
            "per second",
            [Query(rate("headrace_actor_interrupted_episodes_total", "cause"), "[cause]")],
        ),
        Panel(
            "Sent to replay",
            "bytes per second",
            [Query(rate("headrace_actor_sent_bytes_total", "process"), "[process]")],
        ),
        Panel(
            "Not acknowledged by replay",
            "bytes",
            [
                Query(value("headrace_actor_unacknowledged_bytes"), "[process]"),
                Query(f"max by (run) ({value('headrace_actor_window_bytes')})", "limit"),
            ],
        ),
        Panel(
            "Dropped, and taken with a fallback",
            "per second",
            [
                Query(rate("headrace_actor_dropped_steps_total"), "steps dropped"),
                Query(rate("headrace_actor_fallback_steps_total"), "steps with a fallback action"),
            ],
        ),
        Panel(
            "Processor",
            "short",
            [Query(rate("process_cpu_seconds_total", "process", ', job="headrace_actor"'), "[process]")],
            "Cores in use.",
        ),
        Panel(
            "Memory",
            "bytes",
            [Query(value("process_resident_memory_bytes", ', job="headrace_actor"'), "[process]")],
        ),
        Panel(
            "Connections to replay made again",
            "short",
            [Query(total("headrace_actor_replay_reconnects_total", "process"), "[process]")],
            "Since the process was started.",
        ),
    ],
)

INFERENCE = Dashboard(
    "inference",
    "Central inference",
    [
        Panel(
            "Latency of a request by part",
            "seconds",
            [Query(mean("headrace_inference_latency_seconds", "part"), "[part]")],
            "Means. queue: until its batch is taken up; assemble: until weights and batch are ready; compute: in the "
            "network; reply: until the answer has left.",
        ),
        Panel(
            "99 in 100 are faster",
            "seconds",
            [Query(quantile(0.99, "headrace_inference_latency_seconds", "part"), "[part]")],
        ),
        Panel("Environments in a batch", "short", [Query(mean("headrace_inference_batch_size"), "mean")]),
        Panel("Requests", "per second", [Query(rate("headrace_inference_requests_total"), "requests")]),
        Panel(
            "Clients",
            "short",
            [
                Query(value("headrace_inference_clients"), "actors"),
                Query(value("headrace_inference_held_back"), "of them held back by the autotuner"),
            ],
        ),
        Panel(
            "Autotuner",
            "short",
            [Query(value("headrace_inference_tuned"), "[knob]")],
            "What each knob is set to, also for the moment of a trial.",
        ),
        Panel(
            "Steps learned",
            "per second",
            [Query(value("headrace_inference_learned_steps_per_second"), "steps")],
            "As the autotuner has last measured them.",
        ),
        Panel(
            "Refused, and answered too late",
            "per second",
            [
                Query(rate("headrace_inference_refused_total"), "streams refused"),
                Query(rate("headrace_actor_fallback_steps_total"), "steps with a fallback action"),
            ],
        ),
    ],
    needs=value("headrace_inference_clients"),
    without="This run has no central inference: its actors choose their actions themselves. With "
    "topology: CENTRAL_INFERENCE the learner does it for them.",
)

GRADIENTS = Dashboard(
    "gradients",
    "Gradients",
    [
        Panel("Gradients", "per second", [Query(rate("headrace_gradients_total", "verdict"), "[verdict]")]),
        Panel(
            "Age of gradients",
            "updates",
            [
                Query(quantile(0.5, "headrace_gradient_staleness_updates"), "median"),
                Query(quantile(0.99, "headrace_gradient_staleness_updates"), "99 in 100 are younger"),
            ],
            "Updates between the weights that a gradient was computed with and those that it met.",
        ),
        Panel(
            "Computing gradients",
            "share",
            [Query(rate("headrace_actor_update_seconds_total", "process"), "[process]")],
            "Of an actor's time; the rest it acts, or waits for the answer to a gradient.",
        ),
        Panel(
            "Waiting for the answer",
            "share",
            [Query(rate("headrace_actor_policy_wait_seconds_total", "process"), "[process]")],
        ),
        Panel("Clients", "short", [Query(value("headrace_gradient_clients"), "actors")]),
        Panel(
            "Streams refused",
            "per second",
            [Query(rate("headrace_gradients_refused_total"), "because of what came")],
        ),
    ],
    needs=value("headrace_gradient_clients"),
    without="In this run only the learner computes gradients. With topology: ASYNCHRONOUS_GRADIENTS the actors do, and "
    "push them.",
)

DASHBOARDS = [OVERVIEW, REPLAY, LEARNER, ACTORS, INFERENCE, GRADIENTS]
