"""Validates a configuration without starting anything; estimates memory, disk and network.

tools/headrace check deploy/run/half_cheetah_sac.textproto --set replay.capacity=5000000
"""

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from headrace_cli import errors, inspector, workspace
from headrace_cli.errors import UsageError
from headrace_cli.live_view import number, size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="FIELD=VALUE")
    parser.add_argument("--resolved", action="store_true", help="print the configuration with all defaults")
    parser.add_argument("--no-build", action="store_true", help="use the binaries as they are")


def execute(arguments: argparse.Namespace) -> int:
    if not arguments.config.is_file():
        raise UsageError(f"there is no configuration file {arguments.config}")
    workspace.ensure_built((workspace.INSPECT,), build=not arguments.no_build)
    resolved = inspector.resolve(arguments.config, arguments.overrides)
    if arguments.resolved:
        print(resolved, end="")
        return errors.DONE
    console = Console()
    console.print(f"{arguments.config} is valid", highlight=False)
    console.print(estimate_table(inspector.estimate(arguments.config, arguments.overrides)))
    return errors.DONE


def estimate_table(estimate: dict[str, Any]) -> Table:
    """A row for each figure; those with bytes in their names are shown in units."""
    table = Table("what", "estimate", title="estimates", title_justify="left")
    for name, value in _flatten(estimate):
        table.add_row(*_readable(name, value))
    return table


def _flatten(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in values.items():
        rows += _flatten(value, f"{prefix}{name} ") if isinstance(value, dict) else [(prefix + name, value)]
    return rows


def _readable(name: str, value: Any) -> tuple[str, str]:
    if "_bytes" in name:
        return name.replace("_bytes", "").replace("_", " "), size(float(value))
    try:
        return name.replace("_", " "), number(float(value))
    except (TypeError, ValueError):
        return name.replace("_", " "), str(value)
