"""Validates a configuration without starting anything; estimates memory, disk and network.

The totals are set beside what this machine has free. That a run does not fit is a warning, not an error: it may be
meant for other machines.

  tools/headrace check deploy/run/half_cheetah_sac.textproto --set replay.capacity=5000000
"""

import argparse
from pathlib import Path
from typing import Any

from rich.table import Table

from headrace_cli import errors, inspector, workspace
from headrace_cli.live_view import number, size
from headrace_cli.machine import free_disk, free_memory
from headrace_cli.output import plain_console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG")
    inspector.add_overrides(parser)
    parser.add_argument(
        "--dir", type=Path, default=workspace.RUNS, help="where the run directory will be; default: runs/"
    )
    parser.add_argument("--resolved", action="store_true", help="print the configuration with all defaults")
    parser.add_argument("--no-build", action="store_true", help="use the binaries as they are")


def execute(arguments: argparse.Namespace) -> int:
    workspace.check_configuration(arguments.config)
    workspace.ensure_built((workspace.INSPECT,), build=not arguments.no_build)
    resolved = inspector.resolve(arguments.config, arguments.overrides)
    if arguments.resolved:
        print(resolved, end="")
        return errors.DONE
    console = plain_console()
    console.print(f"{arguments.config} is valid")
    estimate = inspector.estimate(arguments.config, arguments.overrides)
    warnings = estimate.pop("warnings")
    console.print(estimate_table(estimate))
    directory = arguments.dir.absolute()
    for line in comparison(estimate["total"], free_memory(), free_disk(directory), directory):
        console.print(line, soft_wrap=True)
    for warning in warnings:
        console.print(f"warning: {warning}", soft_wrap=True)
    return errors.DONE


def comparison(total: dict[str, Any], memory: int, disk: int, directory: Path) -> list[str]:
    """What a run needs of what is free, both in bytes."""
    needs = (
        ("memory", total["memory_bytes"], memory, "on this machine"),
        ("disk", total["disk_bytes"], disk, f"for {directory}"),
    )
    lines = []
    for what, needed, free, where in needs:
        lines.append(f"{what}: needs {size(needed)} of {size(free)} free {where}")
        if needed > free:
            lines.append(f"warning: it does not fit: {size(needed - free)} of {what} are missing")
    return lines


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
