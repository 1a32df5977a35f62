"""Which component limits a run, from the metrics of its processes. The rules in deploy/prometheus/rules/verdict.yml say
the same in Prometheus' language, and a test holds the two together.

The learner's time is laid to components. What it spends on updates and on handing out weights is theirs; what it waits
for batches that were asked for is sampling's. What it waits for data is divided among the components as the actors
divide their own time: into environments, choosing actions (inference), recording and handing in (insertion), and, of
actors that learn by themselves, gradients (update). That they stand still counts only as far as it goes beyond the time in
which the learner is busy, and they have to wait for it: then it is insertion where replay takes nothing, and broadcast
where new weights do not come.

The component with the largest share is the limit: were it faster, the run would be. It may be updates though the learner
waits more than half of its time, if that is divided among others.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from headrace_cli.metrics import Labels

COMPONENTS = ("environment", "inference", "insertion", "sampling", "update", "broadcast")

# What makes each of them faster.
ADVICE = {
    "environment": "add actors",
    "inference": "add actors, or environments to each (actor.environments)",
    "central inference": "raise actor.environments, or give the learner more cores",
    "insertion": "add replay shards, or environments to each actor (actor.environments)",
    "sampling": "add cores where they are full; else replay shards, or raise learner.prefetch",
    "update": "give the learner more cores or a GPU, or choose a smaller network or batch",
    "asynchronous update": "add actors, or cores for them, or choose a smaller network",
    "broadcast": "raise learner.publish_interval_seconds, or choose a smaller network",
    "answered broadcast": "raise actor.environments, ppo.round_steps or unroll_length: more steps for each answer with weights",
}

_SUBJECT = {
    "environment": "environments limit",
    "inference": "inference limits",
    "central inference": "inference limits",
    "insertion": "insertion limits",
    "sampling": "sampling limits",
    "update": "updates limit",
    "asynchronous update": "the actors' gradients limit",
    "broadcast": "broadcasting weights limits",
    "answered broadcast": "the way from the actors to the learner and back limits",
}

# Below so many seconds of the learner's time nothing is said: a run's first moments are like no others.
_LEAST_SECONDS = 2.0
_WAITING = "headrace_learner_waiting_seconds_total"

# Share of the learner's time by which one of them must be ahead of the next to be called the limit without it.
_CLEARLY = 0.1

# Seconds of a metric over all processes of a role ("learner", "actor") in some time.
Seconds = Callable[[str, str, Labels], float]


@dataclass(frozen=True)
class Verdict:
    component: str
    shares: Mapping[str, float] = field(default_factory=dict)  # of the learner's time, by component
    advice: Mapping[str, str] = field(default_factory=dict)  # what would make each component of this run faster
    text: str = ""  # what limits the run, the evidence, and what to do


def verdict(seconds: Seconds, central_inference: bool = False) -> Verdict | None:
    """None: too little has happened, or nothing of it says what limits the run."""

    def waited(*what: str) -> float:
        return sum(seconds("learner", _WAITING, {"what": one}) for one in what)

    learner = {
        "update": seconds("learner", "headrace_learner_update_seconds_sum", {}),
        "publishing": seconds("learner", "headrace_learner_publishing_seconds_total", {}),
        "housekeeping": seconds("learner", "headrace_learner_housekeeping_seconds_total", {}),
        "sampling": waited("batch", "shards"),
        "data": waited("actors", "items"),
    }
    if sum(learner.values()) < _LEAST_SECONDS:
        return None
    learner = _shares(learner)
    actors = _shares(
        {
            "environment": seconds("actor", "headrace_actor_step_seconds_total", {}),
            "inference": seconds("actor", "headrace_actor_policy_seconds_total", {}),
            "recording": seconds("actor", "headrace_actor_record_seconds_total", {}),
            "gradients": seconds("actor", "headrace_actor_update_seconds_total", {}),
            "blocked": seconds("actor", "headrace_actor_inserts_blocked_seconds_total", {}),
            "policy_wait": seconds("actor", "headrace_actor_policy_wait_seconds_total", {}),
        }
    )
    if not any(actors.values()) and learner["data"] == max(learner.values()):
        return None  # the actors would know why
    busy = 1 - learner["data"]
    reasons = _shares(
        {
            "environment": actors["environment"],
            "inference": actors["inference"],
            "update": actors["gradients"],
            "insertion": actors["recording"] + max(actors["blocked"] - busy, 0),
            "broadcast": max(actors["policy_wait"] - busy, 0),
        }
    )
    shares = {
        "environment": learner["data"] * reasons["environment"],
        "inference": learner["data"] * reasons["inference"],
        "insertion": learner["data"] * reasons["insertion"],
        "sampling": learner["sampling"],
        "update": learner["update"] + learner["data"] * reasons["update"],
        "broadcast": learner["publishing"] + learner["data"] * reasons["broadcast"],
    }
    component = max(COMPONENTS, key=lambda one: shares[one])
    if shares[component] == 0:
        return None
    cases = {one: one for one in COMPONENTS}
    if central_inference:
        cases["inference"] = "central inference"
    if actors["gradients"] > 0:
        cases["update"] = "asynchronous update"
    if actors["policy_wait"] > 0:
        cases["broadcast"] = "answered broadcast"
    advice = {one: ADVICE[case] for one, case in cases.items()}
    text = _text(cases[component], learner, actors) + _runner_up(component, shares)
    return Verdict(component, shares, advice, text)


def _shares(seconds: Mapping[str, float]) -> dict[str, float]:
    total = sum(seconds.values())
    return {name: value / total if total > 0 else 0.0 for name, value in seconds.items()}


def _runner_up(component: str, shares: Mapping[str, float]) -> str:
    """The next one, where the limit is no clear one: its advice alone would help little."""
    second = max((one for one in COMPONENTS if one != component), key=lambda one: shares[one])
    if shares[component] - shares[second] >= _CLEARLY:
        return ""
    return f" ({second} takes nearly as much of the learner's time: {shares[second]:.0%} beside {shares[component]:.0%})"


def _text(case: str, learner: Mapping[str, float], actors: Mapping[str, float]) -> str:
    standing = actors["blocked"] + actors["policy_wait"]
    and_standing = f", the actors wait {standing:.0%} of theirs" if standing >= 0.05 else ""
    waits = f"the learner waits for data {learner['data']:.0%} of the time"
    waiting = learner["data"] + learner["sampling"]
    and_waits = f", and waits {waiting:.0%} of it for several others" if waiting > learner["update"] else ""
    evidence = {
        "environment": f"{waits}, the actors are in their environments {actors['environment']:.0%} of theirs",
        "inference": f"{waits}, the actors choose actions {actors['inference']:.0%} of theirs",
        "central inference": f"{waits}, the actors wait for actions {actors['inference']:.0%} of theirs",
        "insertion": f"{waits}, the actors hand in steps {actors['recording'] + actors['blocked']:.0%} of theirs",
        "sampling": f"the learner waits for batches on their way {learner['sampling']:.0%} of the time",
        "update": f"the learner is at updates {learner['update']:.0%} of the time{and_waits}{and_standing}",
        "asynchronous update": f"{waits}, the actors compute gradients {actors['gradients']:.0%} of theirs",
        "broadcast": f"handing out weights takes the learner {learner['publishing']:.0%} of the time",
        "answered broadcast": f"{waits}, the actors wait for its weights {actors['policy_wait']:.0%} of theirs",
    }[case]
    return f"{_SUBJECT[case]} the run: {evidence}: {ADVICE[case]}"
