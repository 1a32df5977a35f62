"""Runs a benchmark: a table for people, one JSON object per figure for machines. Without NAME, lists the benchmarks.

A benchmark measures one thing beside the best alternative, on the same machine in the same minutes: the two sides are
run in turn, and `ratio` is the median of one over the median of the other.

  tools/headrace bench
  tools/headrace bench sac_update --json sac_update.jsonl
  tools/headrace bench topologies --options="--tasks CartPole-v1 --seeds 1"
"""

import argparse
import json
import shlex
import sys
from pathlib import Path

from rich.table import Table

from headrace_cli import benchmark, errors, workspace
from headrace_cli.errors import UsageError
from headrace_cli.live_view import number
from headrace_cli.output import plain_console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write one JSON object per figure here; - is stdout")
    parser.add_argument(
        "--repeats", type=int, metavar="N", help="how often each side is run; default: the benchmark's own"
    )
    parser.add_argument(
        "--options",
        default="",
        metavar="'OPTION...'",
        help="for the benchmark's own programs, which lie in tools/bench; their --help says what there is",
    )
    parser.add_argument("--no-build", action="store_true", help="use the binaries as they are")


def execute(arguments: argparse.Namespace) -> int:
    known = benchmark.load_all(benchmark.DIRECTORY)
    console = plain_console(sys.stderr if arguments.json == Path("-") else None)
    if arguments.name is None:
        console.print(_list_table(known))
        return errors.DONE
    if arguments.name not in known:
        raise UsageError(f"there is no benchmark {arguments.name!r}; known: {', '.join(known) or 'none'}")
    try:
        chosen = benchmark.with_options(known[arguments.name], shlex.split(arguments.options))
    except ValueError as error:
        raise UsageError(f"--options {arguments.options!r} cannot be read as a shell would: {error}") from error
    repeats = chosen.repeats if arguments.repeats is None else arguments.repeats
    if repeats < 1:
        raise UsageError(f"--repeats {repeats}: expected 1 or more")
    if arguments.json is not None:
        _write(arguments.json, [], "a")  # that it cannot be written is better known before minutes of measuring
    if not arguments.no_build:
        workspace.bazel_build(chosen.targets)
    figures, failure = benchmark.run(chosen, repeats, lambda text: console.print(text))
    if figures:
        console.print(_figures_table(chosen, figures, repeats))
    if arguments.json is not None:
        _write(arguments.json, figures)
    if failure is not None:
        raise failure
    return errors.DONE


def _write(path: Path, figures: list[benchmark.Figure], mode: str = "w") -> None:
    text = "".join(json.dumps(vars(figure)) + "\n" for figure in figures)
    if path == Path("-"):
        print(text, end="")
        return
    try:
        with path.open(mode, encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def _list_table(known: dict[str, benchmark.Benchmark]) -> Table:
    table = Table("name", "measures", "beside", "takes about", title="benchmarks", title_justify="left")
    for name, one in known.items():
        table.add_row(name, one.summary, one.reference.summary if one.reference else "its own reference", one.takes)
    return table


def _figures_table(chosen: benchmark.Benchmark, figures: list[benchmark.Figure], repeats: int) -> Table:
    table = Table(title=f"{chosen.summary}: medians of {repeats}, in turn", title_justify="left")
    for column in ("figure", "value", "unit", "reference", "ratio"):
        table.add_column(column, justify="left" if column in ("figure", "unit") else "right", overflow="fold")
    noted = any(figure.notes for figure in figures)
    if noted:
        table.add_column("notes", overflow="fold")
    for figure in figures:
        ratio = "–" if figure.ratio is None else f"{figure.ratio:.2f}"
        notes = [", ".join(f"{name} {value}" for name, value in figure.notes.items())] if noted else []
        table.add_row(figure.name, number(figure.value), figure.unit, number(figure.reference), ratio, *notes)
    return table
