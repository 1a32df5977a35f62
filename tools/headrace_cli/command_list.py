"""Lists algorithms, environments, selectors and topologies, with their facts.

tools/headrace list
tools/headrace list environments
"""

import argparse
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from headrace_cli import errors, inspector, workspace

KINDS = ("algorithms", "environments", "selectors", "topologies")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", nargs="?", choices=KINDS, help="only these")
    parser.add_argument("--no-build", action="store_true", help="use the binaries as they are")


def execute(arguments: argparse.Namespace) -> int:
    workspace.ensure_built((workspace.INSPECT,), build=not arguments.no_build)
    facts = inspector.facts()
    console = Console()
    for kind in [arguments.kind] if arguments.kind else KINDS:
        console.print(facts_table(kind, facts.get(kind, [])))
    return errors.DONE


def facts_table(kind: str, entries: list[Any]) -> Table:
    """A row for each entry, which is a name or a record of facts; a column for each fact that any entry has."""
    records = [entry if isinstance(entry, dict) else {"name": entry} for entry in entries]
    columns = list(dict.fromkeys(name for record in records for name in record)) or ["name"]
    table = Table(title=kind, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column.replace("_", " "), no_wrap=column == "name")
    for record in records:
        table.add_row(*(_text(record.get(column)) for column in columns))
    return table


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
