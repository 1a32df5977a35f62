"""Reads the CSV files of a run while they are being written."""

import csv
import math
from pathlib import Path

Row = dict[str, float]


def read_rows(path: Path) -> list[Row]:
    """The complete rows of the file as numbers; none if it is not there yet.

    A last line without its newline is still being written (or was torn by a crash) and is left out, and so is a line
    with another number of fields than the header. A field that is empty or no number reads as NaN.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    complete = text[: text.rfind("\n") + 1]
    lines = csv.reader(complete.splitlines())
    header = next(lines, [])
    return [
        {name: _number(field) for name, field in zip(header, fields, strict=True)}
        for fields in lines
        if len(fields) == len(header)
    ]


def _number(field: str) -> float:
    try:
        return float(field)
    except ValueError:
        return math.nan
