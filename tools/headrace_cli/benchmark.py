"""Benchmarks are data files: tools/bench/NAME.json names what to build, the commands of both sides, and how often.

    {
      "summary": "updates of soft actor-critic a second",
      "targets": ["//tools/bench:sac_update"],
      "repeats": 3,
      "measured": {"summary": "Headrace", "command": ["bazel-bin/tools/bench/sac_update", "--json"]},
      "reference": {"summary": "Stable-Baselines3", "command": [".venv/bin/python", "tools/bench/peer.py", "--json"]}
    }

Commands run in the root of the source tree and print one JSON object a line: `name`, `value`, `unit`, and, where a side
measures its own limit in the same process, `reference`. Figures of the two sides belong together by name.
"""

import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace_cli.errors import CommandError
from headrace_cli.workspace import ROOT

DIRECTORY = ROOT / "tools" / "bench"

Line = dict[str, Any]
Measure = Callable[["Side"], list[Line]]


@dataclass(frozen=True)
class Side:
    """One of the two things that are compared."""

    summary: str
    command: list[str]
    installed_by: str = "tools/setup --test"
    imports: str = ""  # a module without which its Python program is of no use


@dataclass(frozen=True)
class Benchmark:
    name: str
    summary: str
    targets: list[str]
    repeats: int
    measured: Side
    reference: Side | None  # None: the measured side prints its own


@dataclass(frozen=True)
class Figure:
    """One result; ratio = value / reference, None where there is no reference."""

    name: str
    value: float
    unit: str
    reference: float | None
    ratio: float | None


_HAS_MODULE = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"


def load(path: Path) -> Benchmark:
    """CommandError: the file is not a benchmark."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        reference = Side(**data["reference"]) if "reference" in data else None
        repeats = int(data.get("repeats", 3))
        return Benchmark(path.stem, data["summary"], data["targets"], repeats, Side(**data["measured"]), reference)
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise CommandError(f"{path} does not describe a benchmark: {error!r}") from error


def load_all(directory: Path) -> dict[str, Benchmark]:
    """By name, in alphabetical order."""
    return {path.stem: load(path) for path in sorted(directory.glob("*.json"))}


def run(benchmark: Benchmark, repeats: int, report: Callable[[str], None]) -> list[Figure]:
    """Runs the sides in turn, so that what else the machine does falls on both. CommandError: a side failed."""
    sides = [benchmark.measured] + ([benchmark.reference] if benchmark.reference else [])
    for side in sides:  # one must not be measured for minutes before it is known that the other is missing
        check_installed(side)
    lines: list[list[Line]] = [[] for _ in sides]
    for repeat in range(1, repeats + 1):
        for side, collected in zip(sides, lines, strict=True):
            report(f"{repeat}/{repeats} {side.summary}")
            collected += measure(side)
    if benchmark.reference is None:
        return compare(lines[0], [])
    return compare(lines[0], lines[1], benchmark.reference.summary)


def check_installed(side: Side) -> None:
    """CommandError: its program is not there."""
    if shutil.which(ROOT / side.command[0]) is None:
        raise CommandError(f"{' '.join(side.command)} cannot be run; {side.installed_by} installs it")
    if side.imports and subprocess.run([ROOT / side.command[0], "-c", _HAS_MODULE, side.imports], check=False).returncode:
        raise CommandError(f"{side.command[0]} has no module {side.imports}; {side.installed_by} installs it")


def measure(side: Side) -> list[Line]:
    """The JSON lines that one run of a side prints; other lines are for people and are skipped."""
    result = subprocess.run(
        side.command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        raise CommandError(f"{' '.join(side.command)} ended with code {result.returncode}:\n{result.stderr.strip()}")
    sys.stderr.write(result.stderr)  # what the side has to say of its figures
    lines = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise CommandError(f"{' '.join(side.command)} printed no figure: expected JSON objects, one a line")
    return lines


def compare(measured: list[Line], reference: list[Line], beside: str = "the reference") -> list[Figure]:
    """Figures for each name that the measured side printed, in its order, as medians over the repeats.

    What is measured against a limit of its own and against the other side too makes several figures, the later ones
    named "NAME vs BESIDE". A line of the other side may say itself what it is, by `beside`.
    """
    figures = []
    for name in _names(measured):
        value = _median(measured, name, "value")
        unit = next(str(line.get("unit", "")) for line in measured if line["name"] == name)
        own = _median(measured, name, "reference")
        others = [line for line in reference if line["name"] == name]
        assert value is not None
        if own is not None or not others:
            figures.append(_figure(name, value, unit, own))
        for label in dict.fromkeys(str(line.get("beside", "")) for line in others):
            other = _median([line for line in others if line.get("beside", "") == label], name, "value")
            plain = own is None and not label
            figures.append(_figure(name if plain else f"{name} vs {label or beside}", value, unit, other))
    return figures


def _figure(name: str, value: float, unit: str, reference: float | None) -> Figure:
    return Figure(name, value, unit, reference, value / reference if reference else None)


def _names(lines: list[Line]) -> list[str]:
    return list(dict.fromkeys(line["name"] for line in lines))


def _median(lines: list[Line], name: str, key: str) -> float | None:
    values = [float(line[key]) for line in lines if line["name"] == name and line.get(key) is not None]
    return statistics.median(values) if values else None
