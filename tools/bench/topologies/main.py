"""Environment steps a second, end to end, of the five topologies on the same tasks, beside other libraries.

    python main.py [--json] [--seeds 3] [--tasks CartPole-v1,...] [--rows QUEUE,...] [--without sample_factory,rllib]

Each run is a whole one: actors, replay, learner, evaluator, as `tools/headrace run` starts them. Seconds are those of
training: from the first update (where replay has to be filled first, from when it is) to the last one. What processes
take to start does not count, and neither does the evaluation of the final policy; nothing else is evaluated. A run counts
if its final policy reaches the task's score, without exploration; the figure is the median over the seeds that do.

Beside it stand the libraries that have something like it, as loads.py says, on the same cores, one run after the other,
seed by seed; with the same network, environments, steps, samples in an update and uses of each sample, which are counted,
not assumed. The reference is the fastest of those that reach the score with as many uses. Sample Factory and RLlib are
installed with pip into a directory outside the source tree when they are first needed.

Output: a line for each figure, or with --json one object a line: name, value (null: no seed reached the score), unit,
notes, and where there is something to compare with, reference and ratio.
"""

import argparse
import json
import signal
import statistics
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

sys.path[1:1] = [str(Path(__file__).resolve().parents[level]) for level in (1, 2)]

import headrace_run
import libraries
from headrace_cli.errors import CommandError
from libraries import LIBRARIES
from loads import TASKS, Load, Row, Task, samples_per_update, settings_of
from outcome import Failed, Outcome

HEADRACE = "Headrace"
SAME_USES = 0.1  # uses of a sample may differ by so much of themselves
LEAST_SHARE = 0.05  # of the learner's time, to be named


def measure(task: Task, row: Row, options: argparse.Namespace, known: dict[str, Outcome]) -> dict[str, list[Outcome]]:
    """By name of the side, a run for each seed; of a side that fails only those before. Every side in turn.

    `known`: runs of libraries by what they were told; one that is told the same in two rows is run once.
    """
    sides = (HEADRACE, *(name for name in row.libraries if name in options.pythons))
    outcomes: dict[str, list[Outcome]] = {side: [] for side in sides}
    failed: set[str] = set()
    for seed in range(1, options.seeds + 1):
        load = Load(task, row, options.steps or row.steps, seed)
        config = load.resolved()
        for side in sides:
            if side in failed:
                continue
            try:
                if side == HEADRACE:
                    outcome = headrace_run.run(load)
                else:
                    settings = settings_of(load, config)
                    key = json.dumps([side, settings])
                    if key not in known:
                        known[key] = libraries.run(LIBRARIES[side], options.pythons[side], settings, options.limit)
                    outcome = known[key]
            except Failed as error:  # what else is measured, for hours, is not lost
                print(f"{task.name}/{row.name}, seed {seed}, {side} failed: {error}", file=sys.stderr, flush=True)
                failed.add(side)
                continue
            outcomes[side].append(outcome)
            print(f"{task.name}/{row.name}, seed {seed}, {side}: {said(outcome)}", file=sys.stderr, flush=True)
    return outcomes


def said(outcome: Outcome) -> str:
    return f"{outcome.steps:.0f} steps in {outcome.seconds:.1f} s, {outcome.rate:.0f} a second, score {outcome.score:.1f}"


def figures(name: str, score: float, samples: int, outcomes: dict[str, list[Outcome]]) -> list[dict[str, Any]]:
    """Headrace's first, then those of the libraries; of the runs that reach the score. `samples`: in an update."""
    made = []
    for side, runs in outcomes.items():
        reached = [run for run in runs if run.score >= score]
        made.append(
            {
                "name": name if side == HEADRACE else f"{name}/{side}",
                "value": statistics.median(run.rate for run in reached) if reached else None,
                "unit": "steps/s",
                "notes": {"reached": f"{len(reached)} of {len(runs)}", **notes(runs, samples)},
            }
        )
    ours, *others = made
    uses = ours["notes"].get("uses", 0.0)
    comparable = [
        other["value"] for other in others if other["value"] and abs(other["notes"]["uses"] - uses) <= SAME_USES * uses
    ]
    if comparable:
        ours["reference"] = max(comparable)
        ours["ratio"] = ours["value"] / ours["reference"] if ours["value"] else None
    return made


def notes(runs: list[Outcome], samples: int) -> dict[str, Any]:
    """Medians of all runs, also of those that did not reach the score."""
    if not runs:
        return {}
    said: dict[str, Any] = {
        "score": round(statistics.median(run.score for run in runs), 1),
        "samples_per_update": samples,
        "uses": round(statistics.median(run.uses for run in runs), 2),
    }
    if lags := [run.lag for run in runs if run.lag is not None]:
        said["lag"] = round(statistics.median(lags), 1)
    if any(run.shares for run in runs):
        said["time"] = where_time_goes(runs)
    return said


def where_time_goes(runs: list[Outcome]) -> str:
    """The run's own verdict: shares of the learner's time by the component that they are laid to, the largest first."""
    components = {component for run in runs for component in run.shares}
    shares = {one: statistics.fmean(run.shares.get(one, 0.0) for run in runs) for one in components}
    named = [one for one in sorted(shares, key=lambda one: -shares[one]) if shares[one] >= LEAST_SHARE]
    return ", ".join(f"{one} {shares[one]:.0%}" for one in named)


def report(figure: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(figure), flush=True)
        return
    value = "        –" if figure["value"] is None else f"{figure['value']:9.0f}"
    beside = f"  beside {figure['reference']:9.0f}  ratio {figure['ratio'] or 0:5.2f}" if "reference" in figure else ""
    notes = "; ".join(f"{name} {value}" for name, value in figure["notes"].items())
    print(f"{figure['name']:60} {value} steps/s{beside}  {notes}", flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seeds", type=int, default=3, metavar="N")
    parser.add_argument("--tasks", default=",".join(TASKS), help="default: %(default)s")
    parser.add_argument("--rows", default="", help="topologies, such as QUEUE, or SYNCHRONOUS/a2c; default: all")
    parser.add_argument("--without", default="", help=f"libraries that are left out; there are {', '.join(LIBRARIES)}")
    parser.add_argument(
        "--steps", type=int, default=0, metavar="N", help="of each run, which then counts whatever it reached: for trials"
    )
    parser.add_argument(
        "--environments",
        type=Path,
        default=libraries.default_directory(),
        metavar="DIR",
        help="where Python environments for libraries are made; default: %(default)s",
    )
    parser.add_argument("--limit", type=float, default=3600, metavar="SECONDS", help="for one run of a library")
    options = parser.parse_args()
    options.tasks = chosen(options.tasks, TASKS, parser, "task")
    options.without = chosen(options.without, LIBRARIES, parser, "library")
    rows = [row.name for task in TASKS.values() for row in task.rows]
    options.rows = chosen(options.rows, [*rows, *(name.split("/")[0] for name in rows)], parser, "row")
    if options.seeds < 1:
        parser.error(f"--seeds {options.seeds}: expected 1 or more")
    return options


def chosen(given: str, known: Collection[str], parser: argparse.ArgumentParser, what: str) -> list[str]:
    names = [name for name in given.split(",") if name]
    for name in names:
        if name not in known:
            parser.error(f"there is no {what} {name!r}; known: {', '.join(dict.fromkeys(known))}")
    return names


def main() -> None:
    options = parse()
    # What it has started ends with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    work = [
        (TASKS[task], row)
        for task in options.tasks
        for row in TASKS[task].rows
        if not options.rows or row.name in options.rows or row.name.split("/")[0] in options.rows
    ]
    options.pythons = {}
    for name in LIBRARIES:
        if name in options.without or not any(name in row.libraries for _, row in work):
            continue
        try:
            options.pythons[name] = libraries.python_of(LIBRARIES[name], options.environments)
        except Failed as error:
            print(f"without {name}: {error}", file=sys.stderr, flush=True)
    known: dict[str, Outcome] = {}
    try:
        for task, row in work:
            samples = samples_per_update(Load(task, row, options.steps or row.steps, 1).resolved())
            outcomes = measure(task, row, options, known)
            score = float("-inf") if options.steps else task.score
            for figure in figures(f"topologies/{task.name}/{row.name}", score, samples, outcomes):
                report(figure, options.json)
    except CommandError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
