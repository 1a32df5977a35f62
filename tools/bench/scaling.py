"""How a run scales with its actors: slow simulators, and a thousand connections.

    python scaling.py [--json] [--seconds 5] [--actors 1,4,16,64] [--delays 0.001,0.01] [--light 1000]

First, actor processes with one environment each, every step of which sleeps as a slow simulator would: their steps a
second beside as many times those of one actor, and the learner's processor time for a step beside that with one actor.
Then, beside one such actor, light actors (light_actors.cc), each with its own connections, a lease, a subscription to
the weights, and a step a second: what they cost the learner and the shard, and how far behind their weights are.

Everything is a real run of deploy/run/cartpole_impala.textproto. Where the machine's cores are full, a line says so.

Output: a table, or with --json one object a line: name, value, unit, and where there is something to compare with,
reference and ratio.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from headrace_cli import metrics, workspace

CONFIGURATION = "deploy/run/cartpole_impala.textproto"
SETTINGS = [
    "actor.environments=1",
    "stop.env_steps=1000000000",
    "stop.score=",
    "evaluation.interval_steps=1000000000",
]
LIGHT_PROCESSES = 4
PATIENCE = 120.0  # seconds
UPDATE_BITS = 48  # of a version of the weights; the rest is the learner's incarnation


class Run:
    """A run that goes on until it is interrupted."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def addresses(self) -> dict[str, dict[str, str]]:
        """By process."""
        try:
            record = json.loads((self.directory / "processes.json").read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            return {}
        return {one["name"]: one["addresses"] for one in record["processes"] if one["running"]}

    def value(self, process: str, name: str) -> float:
        address = self.addresses().get(process, {}).get("metrics")
        scrape = metrics.fetch(address, timeout=PATIENCE) if address else None
        return (scrape.total(name) or 0.0) if scrape else 0.0


@dataclass(frozen=True)
class Load:
    """Of a span of time, by second of the clock."""

    steps: float
    learner: float  # processor seconds
    shard: float
    cores: float  # share of the machine's that were busy


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {PATIENCE:.0f} s for {what}")
        time.sleep(0.05)


@contextmanager
def run_with(*settings: str) -> Iterator[Run]:
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        directory = Path(name) / "run"
        command = [str(workspace.ROOT / "tools/headrace"), "run", CONFIGURATION, "--no-build", "--dir", str(directory)]
        for setting in [*SETTINGS, *settings]:
            command += ["--set", setting]
        with (Path(name) / "log").open("w") as log:
            launcher = subprocess.Popen(
                command, cwd=workspace.ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
            try:
                yield Run(directory)
            except SystemExit as error:
                raise SystemExit(f"{error}\n{(Path(name) / 'log').read_text(encoding='utf-8')}") from error
            finally:
                launcher.send_signal(signal.SIGINT)
                launcher.wait()


def load_of(run: Run, seconds: float) -> Load:
    def sample() -> tuple[float, ...]:
        used, idle = cpu_times()
        return (
            time.monotonic(),
            run.value("learner", "headrace_learner_env_steps_total"),
            run.value("learner", "process_cpu_seconds_total"),
            run.value("replay-0", "process_cpu_seconds_total"),
            used,
            idle,
        )

    before = sample()
    time.sleep(seconds)
    elapsed, steps, learner, shard, used, idle = (b - a for a, b in zip(before, sample(), strict=True))
    return Load(steps / elapsed, learner / elapsed, shard / elapsed, used / (used + idle))


def cpu_times() -> tuple[float, float]:
    """Of all cores together: used, idle."""
    times = [float(one) for one in Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0].split()[1:9]]
    idle = times[3] + times[4]
    return sum(times) - idle, idle


def measure_delay(delay: float, counts: list[int], seconds: float, report: Callable[..., None]) -> None:
    one: Load | None = None
    for count in counts:
        with run_with(f"environment.step_delay_seconds={delay}", f"actor.processes={count}") as run:
            wait_until(lambda: run.value("learner", "headrace_learner_actors") == count, f"{count} actors")
            wait_until(lambda: run.value("learner", "headrace_learner_updates_total") >= 5, "the first updates")
            load = load_of(run, seconds)
        name = f"scaling/step_of_{delay * 1000:g}_ms/actors{count}"
        one = one or load
        report(name, load.steps, "steps/s", one.steps * count / counts[0])
        report(f"{name}/learner", 1e6 * load.learner / load.steps, "us/step", 1e6 * one.learner / one.steps)
        if load.cores > 0.95:
            print(f"{name}: the machine's cores are {load.cores:.0%} busy", file=sys.stderr, flush=True)


@contextmanager
def light_actors(run: Run, count: int) -> Iterator[list[Path]]:
    """The files that they print to."""
    addresses = run.addresses()
    processes: list[subprocess.Popen[bytes]] = []
    outputs: list[Path] = []
    try:
        for index in range(LIGHT_PROCESSES):
            share = count // LIGHT_PROCESSES + (index < count % LIGHT_PROCESSES)
            outputs.append(run.directory / f"light-{index}.jsonl")
            command = [str(workspace.binary("tools/bench/light_actors")), f"--config={run.directory / 'config.textproto'}"]
            command += [f"--learner={addresses['learner']['grpc']}", f"--replay={addresses['replay-0']['grpc']}"]
            command += [f"--actors={share}", "--steps_per_second=1"]
            with outputs[-1].open("wb") as output, outputs[-1].with_suffix(".log").open("wb") as log:
                processes.append(subprocess.Popen(command, stdout=output, stderr=log))
        yield outputs
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def newest_lines(outputs: list[Path]) -> list[dict[str, int]]:
    """The last that each has printed in full."""
    lines = [output.read_text(encoding="utf-8").splitlines() for output in outputs]
    return [json.loads(one[-2]) for one in lines if len(one) >= 2]


def measure_light(count: int, seconds: float, report: Callable[..., None]) -> None:
    with run_with("environment.step_delay_seconds=0.01", "actor.processes=1") as run:
        wait_until(lambda: run.value("learner", "headrace_learner_updates_total") >= 5, "the first updates")
        alone = load_of(run, seconds)
        memory = {name: run.value(name, "process_resident_memory_bytes") for name in ("learner", "replay-0")}
        with light_actors(run, count) as outputs:
            wait_until(
                lambda: sum(one["leased"] for one in newest_lines(outputs)) == count
                and all(one["oldest_version"] for one in newest_lines(outputs)),
                f"{count} light actors to have weights",
            )
            load = load_of(run, seconds)
            oldest = min(one["oldest_version"] for one in newest_lines(outputs)) % (1 << UPDATE_BITS)
            behind = run.value("learner", "headrace_learner_policy_version") - oldest
            updates = run.value("learner", "headrace_learner_updates_total")
            for name, shown, more in (
                ("learner", "learner", load.learner - alone.learner),
                ("replay-0", "shard", load.shard - alone.shard),
            ):
                grown = run.value(name, "process_resident_memory_bytes") - memory[name]
                report(f"scaling/light{count}/{shown}/memory", grown / count / 1024, "KiB/actor")
                report(f"scaling/light{count}/{shown}/processor", 1e6 * more / count, "us/s/actor")
    report(f"scaling/light{count}/steps", load.steps, "steps/s", alone.steps + count)
    report(f"scaling/light{count}/weights_behind", behind, "updates")
    print(f"scaling/light{count}: of {updates:.0f} updates", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--actors", default="1,4,16,64", help="the first is what the others are compared with")
    parser.add_argument("--delays", default="0.001,0.01", help="seconds that a step sleeps")
    parser.add_argument("--light", type=int, default=1000)
    options = parser.parse_args()

    def report(name: str, value: float, unit: str, reference: float | None = None) -> None:
        compared = {} if reference is None else {"reference": reference, "ratio": value / reference}
        if options.json:
            print(json.dumps({"name": name, "value": value, "unit": unit, **compared}), flush=True)
            return
        beside = f"  beside {reference:10.1f}  ratio {value / reference:5.2f}" if reference else ""
        print(f"{name:44} {value:10.1f} {unit:10}{beside}", flush=True)

    counts = [int(one) for one in options.actors.split(",")]
    for delay in map(float, options.delays.split(",")):
        measure_delay(delay, counts, options.seconds, report)
    measure_light(options.light, options.seconds, report)


if __name__ == "__main__":
    main()
