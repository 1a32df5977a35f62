"""The state of a run at one time, computed from the metrics of its processes.

    tracker = StatusTracker(plan)
    tracker.add(time.monotonic(), fetch_all(addresses))     # about once a second
    tracker.status().env_steps_per_second

Rates and means are over the last seconds, what the learner waits for is since its last answer but one. A counter that
fell belongs to a process that was started again; what it counts now is what it has done since.
"""

import statistics
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import dropwhile
from typing import Any

from headrace_cli.csv_tail import Row
from headrace_cli.metrics import Labels, Scrape
from headrace_cli.verdict import Verdict, verdict

WINDOW_SECONDS = 5.0

# Share of their time that the actors must be held back before they count as standing still.
_STALLED = 0.9

_UPDATE = "headrace_learner_update_seconds"
_WAITING = "headrace_learner_waiting_seconds_total"
# What the learner may wait for, by the label of that metric.
_LEARNER_WAITS = {
    "first_actor": "the learner waits for the first actor",
    "actors": "the learner waits for actors: it has used their steps as often as its samples per insert allow",
    "shards": "the learner waits for the replay shards: none is connected",
    "items": "the learner waits for items: the replay shards have none that could be drawn",
    "batch": "the learner waits for batches from the replay shards",
    "evaluator": "the final weights are being evaluated",
}
# Share of its time that one of them must take to be worth saying.
_MOST = 0.5
# So many times as long as the others an update may take before it counts as standing still, and the first, with what is
# set up for it, so many seconds.
_PATIENCE = 3
_FIRST_UPDATE_SECONDS = 300.0

Answers = Mapping[str, Scrape | None]


@dataclass(frozen=True)
class Plan:
    """What of the configuration the view needs. Zero or None: not set."""

    stop_env_steps: int = 0
    stop_seconds: float = 0.0
    stop_score: float | None = None
    stop_consecutive: int = 1  # evaluations in a row that must reach it
    min_steps: int = 0
    capacity: int = 0
    queue: bool = False  # experience travels through a queue, where each item is used once
    replay: bool = True  # there are replay shards
    round_actors: int = 0  # without one of whom no round is complete


def plan_of(config: Mapping[str, Any]) -> Plan:
    """From a resolved configuration as JSON, where 64-bit integers are strings."""
    stop, replay = config.get("stop", {}), config.get("replay", {})
    queue = config.get("experience", {}).get("used_once", False)
    return Plan(
        stop_env_steps=int(stop.get("env_steps", 0)),
        stop_seconds=float(stop.get("wall_seconds", 0.0)),
        stop_score=float(stop["score"]) if "score" in stop else None,
        stop_consecutive=int(stop.get("consecutive", 1)),
        min_steps=0 if queue else int(replay.get("min_steps", 0)),
        capacity=int(replay.get("capacity", 0)),
        queue=queue,
        replay=config.get("topology") != "ASYNCHRONOUS_GRADIENTS",
        round_actors=config.get("actor", {}).get("processes", 0) if config.get("topology") == "SYNCHRONOUS" else 0,
    )


@dataclass(frozen=True)
class Status:
    """None: not known (yet)."""

    env_steps: float | None = None
    env_steps_per_second: float | None = None
    lost_steps: float | None = None  # that restarted shards no longer had, over all starts of the run
    dropped_steps: float | None = None  # that actors had no room for and might not wait with, since they were started
    actors: int = 0  # that answer
    held_back_actors: float | None = None  # by the autotuner of central inference
    updates: float | None = None
    updates_per_second: float | None = None
    training_return: float | None = None  # mean of recent episodes
    actors_policy_lag: float | None = None  # updates since the weights in use by the actor that is furthest behind
    sampled_age: float | None = None  # updates since the actions in a batch were chosen, which with replay are many
    samples_per_insert: float | None = None  # sampled steps for each inserted step
    stored_items: float | None = None
    stored_bytes: float | None = None
    budget_bytes: float | None = None
    prefetched_batches: float | None = None
    unacknowledged_bytes: float | None = None
    batch_wait_share: float | None = None  # of the learner's time
    batch_wait_seconds: float | None = None  # for each update
    update_seconds: float | None = None
    at_update: str = ""  # that the learner is at one which takes longer than the window
    blocked_share: float | None = None  # of the actors' time
    learner_waits_for: str = ""  # a key of _LEARNER_WAITS, if it has just taken most of the learner's time
    learner_waited_for: str = ""  # the same of the whole window
    evaluation: Row | None = None  # the last one when the metrics were asked for
    silent: tuple[str, ...] = field(default=())  # processes that did not answer twice
    waiting: str = ""  # when something stands still: which component waits for what
    verdict: Verdict | None = None  # what limits the run now
    verdict_since_start: Verdict | None = None  # the same since its processes were started


class StatusTracker:
    """Not thread-safe."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._history: deque[tuple[float, Answers]] = deque()
        self._last: dict[str, Scrape] = {}  # of every process, also of those that have left
        self._counted = (0.0, 0.0)  # the learner's updates in this life, and the seconds it has waited
        self._counted_at = 0.0  # when one of them last changed

    def add(self, now: float, answers: Answers) -> None:
        """Takes the answers of all processes, by name."""
        self._history.append((now, answers))
        self._last.update({name: scrape for name, scrape in answers.items() if scrape})
        counted = (self._sum(["learner"], _UPDATE + "_count") or 0.0, self._sum(["learner"], _WAITING) or 0.0)
        if counted != self._counted:
            self._counted, self._counted_at = counted, now
        while len(self._history) > 2 and self._history[1][0] <= now - WINDOW_SECONDS:
            self._history.popleft()

    def status(self) -> Status:
        if not self._history:
            return Status()
        names = tuple(self._history[-1][1])
        actors = [name for name in names if name.startswith("actor")]
        shards = [name for name in names if name.startswith("replay")]
        inserted = self._sum(shards, "headrace_replay_table_inserted_steps")
        sampled = self._sum(shards, "headrace_replay_table_sampled_steps")
        env_steps = self._of_run("headrace_learner_run_env_steps")
        updates_per_second = self._rate(["learner"], "headrace_learner_updates_total")
        wait_share = self._rate(["learner"], "headrace_learner_batch_wait_seconds_sum")
        blocked = self._rate(actors, "headrace_actor_inserts_blocked_seconds_total")
        status = Status(
            env_steps=self._sum(actors, "headrace_actor_env_steps_total") if env_steps is None else env_steps,
            env_steps_per_second=self._rate(actors, "headrace_actor_env_steps_total"),
            lost_steps=self._of_run("headrace_learner_run_lost_steps"),
            dropped_steps=self._sum(actors, "headrace_actor_dropped_steps_total"),
            actors=sum(1 for name in actors if self._history[-1][1][name] is not None),
            held_back_actors=self._sum(["learner"], "headrace_inference_held_back"),
            updates=self._sum(["learner"], "headrace_learner_run_updates"),
            updates_per_second=updates_per_second,
            training_return=self._of_run("headrace_learner_training_return"),
            actors_policy_lag=self._policy_lag_of(actors),
            sampled_age=self._mean(["learner"], "headrace_learner_policy_lag_updates"),
            samples_per_insert=sampled / inserted if inserted and sampled is not None else None,
            stored_items=self._sum(shards, "headrace_replay_stored_items"),
            stored_bytes=self._sum(shards, "headrace_replay_stored_bytes"),
            budget_bytes=self._sum(shards, "headrace_replay_budget_bytes"),
            prefetched_batches=self._sum(["learner"], "headrace_learner_prefetched_batches"),
            unacknowledged_bytes=self._sum(actors, "headrace_actor_unacknowledged_bytes"),
            batch_wait_share=wait_share,
            batch_wait_seconds=self._histogram_mean("learner", "headrace_learner_batch_wait_seconds"),
            update_seconds=self._histogram_mean("learner", _UPDATE),
            at_update=self._at_update(),
            blocked_share=blocked / len(actors) if blocked is not None and actors else None,
            learner_waits_for=self._most_waited_for(newest=True),
            learner_waited_for=self._most_waited_for(newest=False),
            silent=self._silent(),
            verdict=self._verdict(names, self._increase),
            verdict_since_start=self._verdict(self._last, self._total),
        )
        return Status(**{**vars(status), "waiting": explain_standstill(status, self._plan, inserted)})

    def _at_update(self) -> str:
        if self._rate(["learner"], _UPDATE + "_count") != 0:
            return ""
        seconds = self._history[-1][0] - self._counted_at
        updates, _ = self._counted
        if updates == 0:
            first = f"the learner has been at its first update since it was started for {seconds:.0f} s"
            return first if seconds < _FIRST_UPDATE_SECONDS else ""
        usual = self._total("learner", _UPDATE + "_sum", {}) / updates
        if usual < 1 or seconds > _PATIENCE * usual:
            return ""
        return f"the learner has been at an update for {seconds:.0f} s; the others took {usual:.0f} s each"

    def _policy_lag_of(self, actors: Iterable[str]) -> float | None:
        updates = self._sum(["learner"], "headrace_learner_run_updates")
        # One that is held back will have the newest weights when it acts again.
        acting = [actor for actor in actors if not self._sum([actor], "headrace_actor_held_back")]
        versions = self._values(acting, "headrace_actor_policy_version")
        if updates is None or not versions:
            return None
        # An actor that is asked a moment after the learner may have newer weights than the learner had.
        return max(updates - min(versions), 0)

    def _most_waited_for(self, newest: bool) -> str:
        for what in _LEARNER_WAITS:
            growth = self._growth("learner", _WAITING, {"what": what}, newest)
            if growth and growth[0] / growth[1] > _MOST and not (newest and self._is_over(what)):
                return what
        return ""

    def _verdict(self, names: Iterable[str], seconds: Callable[[str, str, Labels], float]) -> Verdict | None:
        """From the seconds that a process's metric stands for."""
        central = self._sum(["learner"], "headrace_inference_requests_total") is not None
        return verdict(
            lambda role, metric, labels: sum(seconds(name, metric, labels) for name in names if name.startswith(role)),
            central,
        )

    def _increase(self, name: str, metric: str, labels: Labels) -> float:
        """In the window; of a process that was started again, since then."""
        seen = [scrape for _, scrapes in self._history if (scrape := scrapes.get(name))]
        totals = [total for scrape in seen if (total := scrape.total(metric, labels)) is not None]
        if not totals:
            return 0.0
        return totals[-1] - totals[0] if totals[-1] >= totals[0] else totals[-1]

    def _total(self, name: str, metric: str, labels: Labels) -> float:
        return self._last[name].total(metric, labels) or 0.0

    def _is_over(self, what: str) -> bool:
        """The first actor is waited for before all else: once anything else was, it has come."""
        learner = self._history[-1][1].get("learner")
        if what != "first_actor" or learner is None:
            return False
        return learner.total(_WAITING) != learner.total(_WAITING, {"what": what})

    def _silent(self) -> tuple[str, ...]:
        """Those that did not answer twice: once may be a process that has just ended, as all do at the end of a run."""
        if len(self._history) < 2:
            return ()
        before, now = self._history[-2][1], self._history[-1][1]
        return tuple(name for name in now if now[name] is None and name in before and before[name] is None)

    def _of_run(self, metric: str) -> float | None:
        """What the learner knows of all starts of the run: as it said last, while it is away."""
        newest = self._sum(["learner"], metric)
        if newest is None and "learner" in self._last:
            newest = self._last["learner"].total(metric)
        return newest

    def _sum(self, names: Iterable[str], metric: str) -> float | None:
        scrapes = self._history[-1][1]
        totals = [scrape.total(metric) for name in names if (scrape := scrapes.get(name))]
        known = [total for total in totals if total is not None]
        return sum(known) if known else None

    def _values(self, names: Iterable[str], metric: str) -> list[float]:
        scrapes = self._history[-1][1]
        return [value for name in names if (scrape := scrapes.get(name)) for value in scrape.values(metric)]

    def _mean(self, names: Iterable[str], metric: str) -> float | None:
        values = self._values(names, metric)
        return statistics.fmean(values) if values else None

    def _rate(self, names: Iterable[str], metric: str) -> float | None:
        """The increase a second of a counter, summed over processes; of each since it was first seen in the window."""
        growths = [growth for name in names if (growth := self._growth(name, metric)) is not None]
        return sum(increase / seconds for increase, seconds in growths) if growths else None

    def _growth(self, name: str, metric: str, labels: Labels = {}, newest: bool = False) -> tuple[float, float] | None:
        """How much a process's counter grew, and in how many seconds; None if it was seen but once.

        `newest`: between its last two answers. Otherwise in the window, without the time before it began to count,
        which would make a slow rate of the first seconds of a fast one.
        """
        totals = [
            (when, total)
            for when, scrapes in self._history
            if (scrape := scrapes.get(name)) and (total := scrape.total(metric, labels)) is not None
        ]
        totals = totals[-2:] if newest else list(dropwhile(lambda seen: seen[1] == 0, totals)) or totals
        if len(totals) < 2 or totals[-1][0] != self._history[-1][0]:
            return None
        (begin, before), (end, after) = totals[0], totals[-1]
        # A fallen counter started again from zero.
        return (after - before if after >= before else after), end - begin

    def _histogram_mean(self, name: str, metric: str) -> float | None:
        """The mean of what a histogram observed in the window."""
        total, count = self._growth(name, metric + "_sum"), self._growth(name, metric + "_count")
        return total[0] / count[0] if total and count and count[0] else None


def explain_standstill(status: Status, plan: Plan, inserted_steps: float | None) -> str:
    """Which component waits for what, if actors or the learner stand still; otherwise empty."""
    if status.silent:
        return f"no answer from {', '.join(status.silent)}"
    if status.learner_waits_for == "actors" and inserted_steps is not None and inserted_steps < plan.min_steps:
        return f"the learner waits for actors: {inserted_steps:,.0f} of the first {plan.min_steps:,} steps are in replay"
    if status.learner_waits_for == "actors" and status.env_steps_per_second == 0:
        return "the learner waits for actors, which make no steps: see their logs"
    if status.learner_waits_for:
        if status.learner_waits_for == "items" and status.actors < plan.round_actors:
            return f"the learner waits for actors: a round needs all {plan.round_actors}, and {status.actors} answer"
        if plan.queue and status.learner_waits_for == "items":
            return "the learner waits for actors: the queue holds less than a batch"
        return _LEARNER_WAITS[status.learner_waits_for]
    if status.updates_per_second is None or status.env_steps_per_second is None:
        return ""
    if status.env_steps_per_second == 0 and (status.blocked_share or 0) > _STALLED:
        return "the actors wait for replay to take their steps: the learner is behind its samples per insert"
    if status.learner_waited_for:
        return ""  # it has what it waited for, and there was no time yet to use it
    if status.at_update:
        return status.at_update
    if status.updates_per_second == 0 and status.env_steps_per_second == 0:
        return "neither the learner nor the actors move: see their logs"
    if status.updates_per_second == 0:
        return "the learner makes no updates, and waits for nothing: see its log"
    if status.env_steps_per_second == 0:
        return "the actors make no steps, and replay does not hold them back: see their logs"
    return ""
