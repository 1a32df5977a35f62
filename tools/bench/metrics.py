"""What metrics cost: an actor's steps a second with metrics beside those without, and while it is asked for them beside
those while it is not.

    python metrics.py [--json] [--seconds 3] [--rounds 5] [--interval 1]

The actor is that of actor.py, with random actions on Pendulum-v1, of which a step takes half a microsecond: nothing else
feels the cost of a metric sooner.

  metrics/counter, gauge, histogram   what recording one takes; its reference is reading the clock
  metrics/actor/recording             what an actor records for a step, computed from these, and the step
  metrics/actor/recorded              steps in a second of the actor's processor time; its reference is another process
                                      in which recording does nothing (no_metrics.cc). Clocks are read by both. The
                                      shard counts the steps
  metrics/actor/scraped_each_...      steps a second while a thread asks for all metrics each `interval` seconds; its
                                      reference is the same process while nobody asks
"""

import argparse
import json
import os
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import actor as actor_bench
from headrace_cli import metrics, workspace

ENVIRONMENT, POLICY, LANES = "Pendulum-v1", "random", 4
# For each step of all lanes, actor/acting.cc. The rest is recorded ten times a second, or once an episode.
COUNTERS, CLOCK_READINGS = 1, 4


@contextmanager
def scraped(address: str, interval: float) -> Iterator[None]:
    """Asks for the metrics from a thread, at once and then at each interval."""
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            metrics.fetch(address, timeout=actor_bench.PATIENCE)
            stop.wait(interval)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def processor_seconds(pid: int) -> float:
    """Of all its threads, by the system's account."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def at_next_count(run: actor_bench.Run) -> tuple[float, float]:
    """Steps in the shard, which it counts a few times a second, and the actor's processor seconds, when it has just done so."""
    assert run.actor.pid is not None
    before = actor_bench.inserted_steps(run)
    actor_bench.wait_until(lambda: actor_bench.inserted_steps(run) > before, "the shard to count steps")
    return actor_bench.inserted_steps(run), processor_seconds(run.actor.pid)


def steps_a_processor_second(cores: Mapping[str, str], preload: Path | None, seconds: float) -> float:
    """Of an actor that is started for it."""
    with actor_bench.run_of(ENVIRONMENT, POLICY, LANES, cores, preload) as run:
        time.sleep(seconds)  # warm-up
        steps, used = at_next_count(run)
        time.sleep(seconds)
        steps_after, used_after = at_next_count(run)
        counted = actor_bench.counters_of(run.actor)[actor_bench.STEPS]
        if (counted > 0) == (preload is not None):
            raise SystemExit(f"with {preload or 'its own library'} the actor has counted {counted:.0f} steps")
        return (steps_after - steps) / (used_after - used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=3, help="of each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--interval", type=float, default=1, help="seconds between two scrapes")
    options = parser.parse_args()
    cost = subprocess.run([workspace.binary("tools/bench/metrics_cost")], stdout=subprocess.PIPE, text=True, check=True)
    print(cost.stdout, end="")
    available = sorted(os.sched_getaffinity(0))
    if len(available) < 2:
        raise SystemExit("two cores are needed: one for the actor, one for everything else")
    cores = {"actor": str(available[-1]), "others": ",".join(map(str, available[:-1]))}
    os.sched_setaffinity(0, available[:-1])
    recorded, not_recorded = [], []
    sides = [(recorded, None), (not_recorded, workspace.binary("tools/bench/libno_metrics.so"))]
    for _ in range(options.rounds):
        for rates, preload in sides:
            rates.append(steps_a_processor_second(cores, preload, options.seconds))
        sides.reverse()
    alone, asked = [], []
    with actor_bench.run_of(ENVIRONMENT, POLICY, LANES, cores) as run:
        actor = run.actor
        actor_bench.steps_a_second(actor, options.seconds)  # warm-up
        for _ in range(options.rounds):
            alone.append(actor_bench.steps_a_second(actor, options.seconds)[0])
            with scraped(actor.addresses["metrics"], options.interval):
                asked.append(actor_bench.steps_a_second(actor, options.seconds)[0])
    value, reference = statistics.median(asked), statistics.median(alone)
    (counter,) = (line for line in map(json.loads, cost.stdout.splitlines()) if line["name"] == "metrics/counter")
    recording = (COUNTERS * counter["value"] + CLOCK_READINGS * counter["reference"]) / LANES
    figures = [
        ("metrics/actor/recording", recording, "ns of a step", 1e9 / reference),
        ("metrics/actor/recorded", statistics.median(recorded), "environment steps/s", statistics.median(not_recorded)),
        (f"metrics/actor/scraped_each_{options.interval:g}s", value, "environment steps/s", reference),
    ]
    for name, value, unit, reference in figures:
        if options.json:
            print(json.dumps({"name": name, "value": value, "unit": unit, "reference": reference}))
        else:
            print(f"{name}: {value:,.0f} of {reference:,.0f} {unit}, {value / reference:.3f}")


if __name__ == "__main__":
    main()
