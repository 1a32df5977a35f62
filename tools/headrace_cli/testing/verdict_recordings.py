"""Recorded scrapes of runs that different components limit: testing/verdict/COMPONENT.json.

Each holds, by process and series, the value at two moments some seconds apart.
"""

import json
from pathlib import Path

DIRECTORY = Path(__file__).with_name("verdict")

Recording = dict[str, dict[str, list[float]]]


def recordings() -> dict[str, Recording]:
    """By name."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(DIRECTORY.glob("*.json"))}


def page(recording: Recording, process: str, moment: int) -> str:
    """What the process served at the first (0) or second (1) moment."""
    return "".join(f"{series} {values[moment]}\n" for series, values in recording[process].items())
