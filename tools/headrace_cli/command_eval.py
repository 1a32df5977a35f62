"""Evaluates a checkpoint of a run: deterministic actions, new episodes.

  tools/headrace eval runs/pendulum_sac-seed1 --episodes 50
  tools/headrace eval runs/pendulum_sac-seed1 --checkpoint latest
  tools/headrace eval runs/laser_nav_ga3c-seed1 --environment LaserNavUnseen-v0
"""

import argparse
import json
import statistics
import subprocess
from pathlib import Path
from typing import Any

from rich.table import Table

from headrace_cli import errors, workspace
from headrace_cli.errors import BAD_USAGE, CommandError, UsageError
from headrace_cli.live_view import number
from headrace_cli.log_lines import without_prefix
from headrace_cli.output import plain_console
from headrace_cli.run_directory import open_run
from headrace_cli.summary import shown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, metavar="DIR", help="a run directory, or a checkpoint in one")
    parser.add_argument(
        "--checkpoint",
        metavar="best|latest|N",
        help="N is a number of updates; default: best, or latest if nothing has been evaluated yet",
    )
    parser.add_argument("--episodes", type=int, default=10, metavar="N", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the episodes; default: %(default)s")
    parser.add_argument(
        "--environment",
        metavar="NAME",
        help="another one with the same observations and actions, such as one it was not trained on; default: the run's",
    )
    parser.add_argument("--no-build", action="store_true", help="use the binaries as they are")


def execute(arguments: argparse.Namespace) -> int:
    if arguments.episodes < 1:
        raise UsageError(f"--episodes {arguments.episodes}: expected 1 or more")
    if arguments.seed < 0:
        raise UsageError(f"--seed {arguments.seed}: expected 0 or more")
    directory, which = arguments.directory, arguments.checkpoint
    if which is None and directory.absolute().parent.name == "checkpoints":  # as the summary of a run names one
        directory, which = directory.absolute().parents[1], directory.name
    run = open_run(directory)
    checkpoint = run.checkpoint(which or ("best" if run.has_best() else "latest"))
    workspace.ensure_built((workspace.ACTOR,), build=not arguments.no_build)
    result = evaluate(run.config, checkpoint, arguments.episodes, arguments.seed, arguments.environment)
    console = plain_console()
    console.print(f"{shown(checkpoint)}, {len(result['returns'])} episodes", soft_wrap=True)
    console.print(result_table(result))
    return errors.DONE


def evaluate(config: Path, checkpoint: Path, episodes: int, seed: int, environment: str | None) -> dict[str, Any]:
    """`returns` and `lengths` of the episodes. CommandError: the actor failed, with what it said."""
    command = [
        str(workspace.binary(workspace.ACTOR)),
        "--role=evaluate",
        f"--config={config}",
        f"--checkpoint={checkpoint}",
        f"--episodes={episodes}",
        f"--seed={seed}",
    ]
    if environment is not None:
        command.append(f"--set=environment.name={environment}")
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        said = "\n".join(without_prefix(line) for line in result.stderr.strip().splitlines())
        # The option as it was given.
        said = said.replace(f"--set environment.name={environment}", f"--environment {environment}")
        message = said or f"{' '.join(command)} ended with code {result.returncode}"
        raise (UsageError if result.returncode == BAD_USAGE else CommandError)(message)
    lines = result.stdout.strip().splitlines()
    try:
        return json.loads(lines[-1])
    except (IndexError, json.JSONDecodeError) as error:
        raise CommandError(f"{' '.join(command)}: expected one line of JSON, got {result.stdout!r}") from error


def result_table(result: dict[str, Any]) -> Table:
    """Mean, spread and extremes over the episodes."""
    table = Table()
    for column in ("", "mean", "std", "min", "max"):
        table.add_column(column, justify="right" if column else "left")
    for name, key in (("return", "returns"), ("length", "lengths")):
        values = [float(value) for value in result[key]]
        figures = (statistics.fmean(values), statistics.pstdev(values), min(values), max(values))
        table.add_row(name, *(number(value) for value in figures))
    return table
