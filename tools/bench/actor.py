"""Environment steps a second of one actor process that writes to a replay shard.

    python actor.py [--json] [--seconds 0.5] [--rounds 6] [--environments Pendulum-v1,...] [--lanes 1,4,16]

Three real processes: an actor, a shard, and actor_learner, which plays the learner's part and learns nothing. The actor,
all of its threads, has the last core of this machine to itself, and everything else the others. Beside it stands what
an actor cannot be faster than: actor_limit measures a bare simulator step and the bare network on the actor's core, in
turn with the actor, which is stopped in the meantime.

A second is one of the processor's time, of all threads of the actor, or one that the actor waited for the shard: what
else runs on the machine takes time from both sides and is not counted. On an idle machine these seconds are those of
the clock: where they are not, something took the actor's core, or the actor slept for a reason that is not counted, and
a warning says so. Each figure is the median of its rounds.

Output: a table, or with --json one object a line: name, value, unit, reference, ratio = value / reference, and as a note
the steps in a second of the clock.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from headrace_cli import metrics, workspace
from headrace_cli.child import Child, ChildSpec

CONFIGURATION = "deploy/run/half_cheetah_sac.textproto"
HIDDEN = 256
STEPS = "headrace_actor_env_steps_total"
INSERTED_STEPS = "headrace_replay_inserted_steps_total"
PROCESSOR_SECONDS = "process_cpu_seconds_total"
BLOCKED_SECONDS = "headrace_actor_inserts_blocked_seconds_total"
PATIENCE = 60.0  # seconds
ACCOUNTED = 0.95  # of the clock's time, at least


@dataclass(frozen=True)
class Run:
    replay: Child
    actor: Child


def start(
    directory: Path,
    name: str,
    cores: str,
    binary: str,
    serves: tuple[str, ...],
    arguments: list[str],
    preload: Path | None = None,
) -> Child:
    """Returns once it serves. `preload`: a library whose functions take the place of others."""
    environment = ["env", f"LD_PRELOAD={preload}"] if preload else []
    command = ["--cpu-list", cores, *environment, str(workspace.binary(binary)), *arguments]
    child = Child(ChildSpec(name, name, Path("/usr/bin/taskset"), lambda _: command, serves), directory, directory)
    child.start({}, time.monotonic())
    wait_until(lambda: child.check_ready() or not child.running, f"{name} to serve")
    if not child.ready:
        raise SystemExit(f"{name} has ended:\n{child.log_tail()}")
    return child


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {PATIENCE:.0f} s for {what}")
        time.sleep(0.02)


@contextmanager
def run_of(
    environment: str, policy: str, lanes: int, cores: Mapping[str, str], preload: Path | None = None
) -> Iterator[Run]:
    """One that goes on for ever. `preload`: of the actor."""
    fields = [f"environment.name={environment}", f"actor.environments={lanes}"]
    common = [f"--config={CONFIGURATION}", *(f"--set={field}" for field in fields)]
    children: list[Child] = []
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        directory = Path(name)
        try:
            every = ("grpc", "metrics", "health")
            children.append(start(directory, "replay", cores["others"], workspace.REPLAY, every, common))
            replay = f"--replay={children[0].addresses['grpc']}"
            arguments = [*common, replay, f"--random_policy={str(policy == 'random').lower()}"]
            learner = "tools/bench/actor_learner"
            children.append(start(directory, "learner", cores["others"], learner, every, arguments))
            arguments = [*common, replay, f"--learner={children[1].addresses['grpc']}"]
            actor = start(directory, "actor", cores["actor"], workspace.ACTOR, every[1:], arguments, preload)
            children.append(actor)
            run = Run(children[0], actor)
            wait_until(lambda: inserted_steps(run) > 0, "the first steps")
            yield run
        finally:
            for child in reversed(children):
                child.kill()


def scrape(child: Child) -> metrics.Scrape:
    page = metrics.fetch(child.addresses["metrics"], timeout=PATIENCE)
    if page is None:
        raise SystemExit(f"{child.spec.name} does not answer:\n{child.log_tail()}")
    return page


def inserted_steps(run: Run) -> float:
    """As the shard counts them."""
    return scrape(run.replay).total(INSERTED_STEPS) or 0.0


def counters_of(actor: Child) -> dict[str, float]:
    page = scrape(actor)
    return {name: page.total(name) or 0.0 for name in (STEPS, PROCESSOR_SECONDS, BLOCKED_SECONDS)}


def steps_a_second(actor: Child, seconds: float) -> tuple[float, float]:
    """In accounted seconds, and in those of the clock; for longer if the actor has hardly run in so many."""
    begin, before = time.monotonic(), counters_of(actor)
    while True:
        time.sleep(seconds)
        after, end = counters_of(actor), time.monotonic()
        increase = {name: total - before[name] for name, total in after.items()}
        accounted = increase[PROCESSOR_SECONDS] + increase[BLOCKED_SECONDS]
        if accounted > 0 and increase[STEPS] > 0:
            return increase[STEPS] / accounted, increase[STEPS] / (end - begin)
        if end - begin > PATIENCE:
            raise SystemExit(f"the actor does no steps:\n{actor.log_tail()}")


@contextmanager
def limit_of(
    environment: str, policy: str, lanes: int, cores: Mapping[str, str]
) -> Iterator[Callable[[float], dict[str, float]]]:
    """Measures for so many seconds."""
    binary = workspace.binary("tools/bench/actor_limit")
    arguments = [f"--config={CONFIGURATION}", f"--environment={environment}", f"--lanes={lanes}", f"--hidden={HIDDEN}"]
    arguments.append(f"--random_policy={str(policy == 'random').lower()}")
    command = ["taskset", "--cpu-list", cores["actor"], str(binary), *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        requests, answers = process.stdin, process.stdout

        def measure(seconds: float) -> dict[str, float]:
            requests.write(f"{seconds}\n")
            requests.flush()
            answer: dict[str, float] = json.loads(answers.readline())
            return answer

        yield measure
        requests.close()


def measure(
    environment: str, policy: str, lanes: int, options: argparse.Namespace, cores: Mapping[str, str]
) -> tuple[float, float, float]:
    """Steps a second of the actor, the same by the clock, and steps a second at the limit."""
    rates, limits = [], []
    with run_of(environment, policy, lanes, cores) as run, limit_of(environment, policy, lanes, cores) as limit:
        actor = run.actor
        steps_a_second(actor, options.seconds)  # warm-up
        for _ in range(options.rounds):
            rates.append(steps_a_second(actor, options.seconds))
            assert actor.pid is not None
            os.kill(actor.pid, signal.SIGSTOP)
            limits.append(limit(options.seconds))
            os.kill(actor.pid, signal.SIGCONT)
    parts = ("step_seconds",) if policy == "random" else ("step_seconds", "network_seconds")
    rate, wall_rate = (statistics.median(column) for column in zip(*rates, strict=True))
    return rate, wall_rate, statistics.median(1 / sum(one[part] for part in parts) for one in limits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each round")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--environments", default="HalfCheetah-v5,Pendulum-v1")
    parser.add_argument("--policies", default="random,mlp256")
    parser.add_argument("--lanes", default="1,4,16")
    options = parser.parse_args()
    available = sorted(os.sched_getaffinity(0))
    if len(available) < 2:
        raise SystemExit("two cores are needed: one for the actor, one for everything else")
    cores = {"actor": str(available[-1]), "others": ",".join(map(str, available[:-1]))}
    os.sched_setaffinity(0, available[:-1])
    for environment in options.environments.split(","):
        for policy in options.policies.split(","):
            for lanes in map(int, options.lanes.split(",")):
                value, wall_value, limit = measure(environment, policy, lanes, options, cores)
                report(f"actor/{environment}/{policy}/lanes{lanes}", value, wall_value, limit, options.json)


def report(name: str, value: float, wall_value: float, limit: float, as_json: bool) -> None:
    if as_json:
        figure = {"name": name, "value": value, "unit": "steps/s", "reference": limit, "ratio": value / limit}
        print(json.dumps(figure | {"notes": {"by the clock": round(wall_value)}}), flush=True)
    else:
        shown = f"{value:10.0f} steps/s  by the clock {wall_value:10.0f}  limit {limit:10.0f}  ratio {value / limit:5.2f}"
        print(f"{name:40} {shown}", flush=True)
    if wall_value < ACCOUNTED * value:
        text = f"{name}: only {wall_value / value:.0%} of the time is the actor's; its core was not free, or it slept"
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
