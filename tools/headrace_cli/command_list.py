"""Lists algorithms, environments, selectors and topologies, with their facts.

  tools/headrace list
  tools/headrace list environments
"""

import argparse
from typing import Any

from rich.text import Text

from headrace_cli import errors, inspector, workspace
from headrace_cli.output import plain_console

KINDS = ("algorithms", "environments", "selectors", "topologies")
_SINGULARS = ("algorithm", "environment", "selector", "topology")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", nargs="?", type=_kind, choices=KINDS, help="only these")
    parser.add_argument("--no-build", action="store_true", help="use the binaries as they are")


def _kind(text: str) -> str:
    return KINDS[_SINGULARS.index(text)] if text in _SINGULARS else text


def execute(arguments: argparse.Namespace) -> int:
    workspace.ensure_built((workspace.INSPECT,), build=not arguments.no_build)
    facts = inspector.facts()
    console = plain_console()
    for kind in [arguments.kind] if arguments.kind else KINDS:
        console.print(Text(kind, style="bold"))
        for entry in facts.get(kind, []):
            for line in entry_lines(entry):
                console.print(line, soft_wrap=True)
        console.print()
    return errors.DONE


def entry_lines(entry: Any) -> list[Text]:
    """An entry is a name or a record of facts: its name and summary make a line, its other facts another."""
    if not isinstance(entry, dict):
        return [Text(f"  {entry}")]
    summary = f": {entry['summary']}" if entry.get("summary") else ""
    lines = [Text.assemble("  ", (entry["name"], "cyan"), summary)]
    facts = [
        f"{name.replace('_', ' ')}: {_text(value)}"
        for name, value in entry.items()
        if name not in ("name", "summary") and value is not None
    ]
    if facts:
        lines.append(Text(f"      {'; '.join(facts)}", style="dim"))
    return lines


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
