"""The learning curves of runs, read from their directories and grouped: what the seeds of one experiment have in common
is shown as one mean with an interval.
"""

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headrace_cli.csv_tail import Row
from headrace_cli.errors import UsageError
from headrace_cli.intervals import Array
from headrace_cli.run_directory import RunDirectory

# The last part of the directory of one seed: runs/pendulum/seed-3, or runs/pendulum_sac-seed3.
_SEED = re.compile(r"(?:(?P<name>.+)-)?seed-?\d+")

_TRAINING_RETURN = "rollout/ep_rew_mean"


@dataclass(frozen=True)
class Curve:
    """Points of one run, ordered by environment steps."""

    env_steps: Array
    wall_seconds: Array
    returns: Array
    spread: Array  # standard deviation over the episodes of a point; zeros if not known

    def __len__(self) -> int:
        return len(self.returns)


@dataclass(frozen=True)
class Run:
    """What is drawn of one run."""

    directory: Path
    evaluations: Curve
    training: Curve
    ended: bool  # it will not go on from where it is, as far as is known


@dataclass(frozen=True)
class Group:
    """Runs of one experiment, which differ in their seeds."""

    label: str
    runs: list[Run]


def load_groups(arguments: list[str]) -> list[Group]:
    """Groups from the command line: LABEL=DIR,DIR, or a directory, of a run or with seed directories in it.

    Run directories in one place that are named alike but for the seed make one group; a run that is named twice counts
    once. UsageError: a directory holds no run.
    """
    labelled: dict[str, list[Path]] = {}
    experiments: dict[Path, list[Path]] = {}
    for argument in arguments:
        label, separator, directories = argument.partition("=")
        if separator and not Path(argument).exists():
            if not label or not all(directories.split(",")):
                raise UsageError(f"{argument}: expected LABEL=DIR, or LABEL=DIR,DIR")
            runs = [run for directory in directories.split(",") for run in find_runs(Path(directory))]
            labelled.setdefault(label, []).extend(runs)
            continue
        for run in find_runs(Path(argument)):
            experiments.setdefault(experiment_of(run), []).append(run)
    groups = [*labelled.items(), *zip(_labels(list(experiments)), experiments.values(), strict=True)]
    return [Group(label, [load_run(run) for run in _without_repeats(runs)]) for label, runs in groups]


def _labels(experiments: list[Path]) -> list[str]:
    """Their names; where those are the same, with as much of the path as tells them apart."""
    names = Counter(experiment.name for experiment in experiments)

    def label(experiment: Path) -> str:
        if names[experiment.name] == 1:
            return experiment.name
        alike = [other.parent for other in experiments if other.name == experiment.name]
        return str(experiment.relative_to(os.path.commonpath(alike)))

    return [label(experiment) for experiment in experiments]


def _without_repeats(runs: list[Path]) -> list[Path]:
    return list({run.resolve(): run for run in reversed(runs)}.values())[::-1]


def find_runs(directory: Path) -> list[Path]:
    """The run directories that are meant by a directory: itself, or those in it, also of seeds in directories of theirs."""
    if not directory.is_dir() and "," not in str(directory):
        raise UsageError(f"there is no directory {directory}")
    found = _runs_in(directory, depth=2)
    if not found:
        several = "; several directories need a label: LABEL=DIR,DIR" if "," in str(directory) else ""
        raise UsageError(f"{directory} is no run directory and has none in it (evaluations.csv or config.textproto){several}")
    return found


def _runs_in(directory: Path, depth: int) -> list[Path]:
    if is_run(directory):
        return [directory]
    if depth == 0 or not directory.is_dir():
        return []
    entries = sorted(entry for entry in directory.iterdir() if not entry.name.startswith("."))
    return [run for entry in entries for run in _runs_in(entry, depth - 1)]


def is_run(directory: Path) -> bool:
    run = RunDirectory(directory)
    return run.evaluations.exists() or run.is_run()


def experiment_of(run: Path) -> Path:
    """What a run shares with the other seeds of its experiment: a directory that they are in, or could be."""
    path = run.resolve()
    match = _SEED.fullmatch(path.name)
    if match is None:
        return path
    return path.with_name(match["name"]) if match["name"] else path.parent


def load_run(path: Path) -> Run:
    directory = RunDirectory(path)
    return Run(
        path,
        curve_of(directory.evaluation_rows(), "mean_return", "std_return"),
        curve_of(directory.progress_rows(), _TRAINING_RETURN),
        # Of another system's, and of those that are kept as results, there are but the curves.
        not directory.is_run() or directory.has_ended(),
    )


def curve_of(rows: list[Row], returns: str, spread: str | None = None) -> Curve:
    """Rows without a finite return or step are left out; a run that was resumed from a checkpoint has steps twice, and
    the later line of each holds."""
    by_step = {row["env_steps"]: row for row in rows if np.isfinite(row.get(returns, np.nan)) and "env_steps" in row}
    kept = [by_step[step] for step in sorted(by_step)]

    def column(name: str | None) -> Array:
        return np.array([row.get(name, 0.0) if name else 0.0 for row in kept], dtype=np.float64)

    return Curve(column("env_steps"), column("wall_seconds"), column(returns), column(spread))
