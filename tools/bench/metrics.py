"""What metrics cost: recording them as a part of an actor's steps, and its steps a second while it is asked for them,
beside those while it is not.

    python metrics.py [--json] [--seconds 3] [--rounds 5] [--interval 1]

The actor is that of actor.py, with random actions on Pendulum-v1, of which a step takes half a microsecond: nothing else
feels the cost of a metric sooner. In every other round a thread asks it for all its metrics each `interval` seconds. What
both rounds have, recording, is computed: what one takes, which metrics_cost measures, times as many as there are.
"""

import argparse
import json
import os
import statistics
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

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
    alone, asked = [], []
    with actor_bench.run_of(ENVIRONMENT, POLICY, LANES, cores) as actor:
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
        (f"metrics/actor/scraped_each_{options.interval:g}s", value, "environment steps/s", reference),
    ]
    for name, value, unit, reference in figures:
        if options.json:
            print(json.dumps({"name": name, "value": value, "unit": unit, "reference": reference}))
        else:
            print(f"{name}: {value:,.0f} of {reference:,.0f} {unit}, {value / reference:.3f}")


if __name__ == "__main__":
    main()
