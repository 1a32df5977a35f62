"""What the C++ side knows of configurations, algorithms and environments, asked from the binary tools/inspect.

Configurations are never parsed here: one parser, one set of error messages, one schema.
"""

import argparse
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from headrace_cli import workspace
from headrace_cli.errors import BAD_USAGE, CommandError, UsageError


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """The option --set of every command that takes a configuration; `overrides` of the functions below."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="FIELD=VALUE",
        help="overrides a field of the configuration, as in sac.batch_size=128; one with several values takes the whole "
        "list, as in sac.hidden=64,64; an empty VALUE unsets it, as in stop.score=; may be given several times",
    )


def resolve(config: Path, overrides: list[str]) -> str:
    """The configuration as text with all overrides and defaults. UsageError: it is not valid, and why."""
    return _inspect("resolve", str(config), *overrides)


def as_json(config: Path, overrides: list[str]) -> dict[str, Any]:
    """The resolved configuration; 64-bit integers are strings, as protobuf's JSON has them."""
    return json.loads(_inspect("json", str(config), *overrides))


def estimate(config: Path, overrides: list[str]) -> dict[str, Any]:
    """What a run of the configuration needs of memory, disk and network."""
    return json.loads(_inspect("estimate", str(config), *overrides))


def facts() -> dict[str, Any]:
    """What there is: `algorithms`, `environments`, `selectors`, `topologies`."""
    return json.loads(_inspect("list"))


def check_resumable(stored: Path, new: Path) -> None:
    """UsageError: a run of the stored configuration may not be resumed with the new one; the text names the field."""
    _inspect("resumable", str(stored), str(new))


def check_networks(source: Path, config: Path, overrides: list[str]) -> None:
    """UsageError: a run of the configuration cannot begin with the networks of that run or checkpoint."""
    _inspect("networks", str(source), str(config), *overrides)


def check_certificates(directory: Path, token_file: Path, names: Iterable[str]) -> None:
    """UsageError: a process that is reached by these names could not use them; the text says what is wrong with which
    file."""
    _inspect("certificates", str(directory), str(token_file), *names)


def _inspect(*arguments: str) -> str:
    command = [str(workspace.binary(workspace.INSPECT)), *arguments]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="backslashreplace", check=False)
    if result.returncode == 0:
        return result.stdout
    message = result.stderr.strip() or f"{' '.join(command)} ended with code {result.returncode} and said nothing"
    raise (UsageError if result.returncode == BAD_USAGE else CommandError)(message)
