"""Benchmarks are data files: tools/bench/NAME.json names what to build, the commands of both sides, and how often.

    {
      "summary": "updates of soft actor-critic a second",
      "targets": ["//tools/bench:sac_update"],
      "repeats": 3,
      "takes": "4 min",
      "measured": {"summary": "Headrace", "command": ["bazel-bin/tools/bench/sac_update", "--json"]},
      "reference": {"summary": "Stable-Baselines3", "command": [".venv/bin/python", "tools/bench/peer.py", "--json"]}
    }

Commands run in the root of the source tree and print one JSON object a line: `name`, `value`, `unit`, and, where a side
measures its own limit in the same process, `reference`; with `notes`, by name, what else there is to say of the figure.
Figures of the two sides belong together by name. A value may be null: there is something to say, but no figure.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
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
    takes: str = ""  # about how long, on two cores, with so many repeats


@dataclass(frozen=True)
class Figure:
    """One result; ratio = value / reference, None where there is no reference."""

    name: str
    value: float | None
    unit: str
    reference: float | None
    ratio: float | None
    notes: dict[str, Any] = field(default_factory=dict)  # as the measured side's last repeat has them


_HAS_MODULE = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"


def load(path: Path) -> Benchmark:
    """CommandError: the file is not a benchmark."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        reference = Side(**data["reference"]) if "reference" in data else None
        repeats = int(data.get("repeats", 3))
        measured = Side(**data["measured"])
        return Benchmark(path.stem, data["summary"], data["targets"], repeats, measured, reference, data["takes"])
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise CommandError(f"{path} does not describe a benchmark: {error!r}") from error


def load_all(directory: Path) -> dict[str, Benchmark]:
    """By name, in alphabetical order."""
    return {path.stem: load(path) for path in sorted(directory.glob("*.json"))}


def with_options(benchmark: Benchmark, options: list[str]) -> Benchmark:
    """Its commands get them too."""

    def extended(side: Side) -> Side:
        return replace(side, command=[*side.command, *options])

    reference = extended(benchmark.reference) if benchmark.reference else None
    return replace(benchmark, measured=extended(benchmark.measured), reference=reference)


Failure = CommandError | KeyboardInterrupt


def run(benchmark: Benchmark, repeats: int, report: Callable[[str], None]) -> tuple[list[Figure], Failure | None]:
    """Runs the sides in turn, so that what else the machine does falls on both. With a failure come the figures that were
    there by then: they may have taken hours. CommandError: a side cannot be run at all."""
    sides = [benchmark.measured] + ([benchmark.reference] if benchmark.reference else [])
    for side in sides:  # one must not be measured for minutes before it is known that the other is missing
        check_installed(side)
    lines: list[list[Line]] = [[] for _ in sides]
    failure: Failure | None = None
    try:
        for repeat in range(1, repeats + 1):
            for side, collected in zip(sides, lines, strict=True):
                report(f"{repeat}/{repeats} {side.summary}")
                measure(side, collected)
    except (CommandError, KeyboardInterrupt) as error:
        failure = error
    if benchmark.reference is None:
        return compare(lines[0], []), failure
    return compare(lines[0], lines[1], benchmark.reference.summary), failure


def check_installed(side: Side) -> None:
    """CommandError: its program is not there."""
    if shutil.which(ROOT / side.command[0]) is None:
        built = side.command[0].startswith("bazel-bin/")
        mend = "without --no-build it is built" if built else f"{side.installed_by} installs it"
        raise CommandError(f"{' '.join(side.command)} cannot be run; {mend}")
    if side.imports and subprocess.run([ROOT / side.command[0], "-c", _HAS_MODULE, side.imports], check=False).returncode:
        raise CommandError(f"{side.command[0]} has no module {side.imports}; {side.installed_by} installs it")


def measure(side: Side, lines: list[Line]) -> None:
    """Adds the JSON lines that one run of a side prints, also of one that fails; other lines are for people and are
    skipped."""
    before = len(lines)
    with tempfile.TemporaryFile("w+") as output:
        try:
            with subprocess.Popen(
                side.command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE, text=True
            ) as process:
                assert process.stderr is not None
                last = "it said nothing"
                for line in process.stderr:  # what the side has to say of its figures, or of how far it is
                    sys.stderr.write(line)
                    last = line.strip() or last
        finally:
            output.seek(0)
            lines += [one for line in output if (one := _json_object(line)) is not None]
    if process.returncode != 0:
        raise CommandError(f"{' '.join(side.command)} ended with code {process.returncode}: {last}")
    if len(lines) == before:
        raise CommandError(f"{' '.join(side.command)} printed no figure: expected JSON objects, one a line")


def _json_object(line: str) -> Line | None:
    """None: it is something else, or was cut off."""
    try:
        value = json.loads(line)
    except json.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def compare(measured: list[Line], reference: list[Line], beside: str = "the reference") -> list[Figure]:
    """Figures for each name that the measured side printed, in its order, as medians over the repeats.

    What is measured against a limit of its own and against the other side too makes several figures, the later ones
    named "NAME vs BESIDE". A line of the other side may say itself what it is, by `beside`.
    """
    figures = []
    for name in _names(measured):
        value = _median(measured, name, "value")
        last = next(line for line in reversed(measured) if line["name"] == name)
        unit, notes = str(last.get("unit", "")), last.get("notes", {})
        own = _median(measured, name, "reference")
        others = [line for line in reference if line["name"] == name]
        if own is not None or not others:
            figures.append(_figure(name, value, unit, own, notes))
        for label in dict.fromkeys(str(line.get("beside", "")) for line in others):
            other = _median([line for line in others if line.get("beside", "") == label], name, "value")
            plain = own is None and not label
            figures.append(_figure(name if plain else f"{name} vs {label or beside}", value, unit, other, notes))
    return figures


def _figure(
    name: str, value: float | None, unit: str, reference: float | None, notes: dict[str, Any]
) -> Figure:
    return Figure(name, value, unit, reference, value / reference if value is not None and reference else None, notes)


def _names(lines: list[Line]) -> list[str]:
    return list(dict.fromkeys(line["name"] for line in lines))


def _median(lines: list[Line], name: str, key: str) -> float | None:
    values = [float(line[key]) for line in lines if line["name"] == name and line.get(key) is not None]
    return statistics.median(values) if values else None
