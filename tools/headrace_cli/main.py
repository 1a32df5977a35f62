"""The commands: what `tools/headrace --help` lists. Each is a module command_NAME with `add_arguments` and `execute`.

Only the module of the command that is asked for is imported: they load much, and help should come at once.
"""

import argparse
import difflib
import importlib
import signal
import sys
from collections.abc import Collection
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from headrace_cli import errors

COMMANDS = ("run", "check", "eval", "plot", "top", "replay", "list", "certificates", "bench")

_EXIT_CODES = "exit codes: 0 done; 1 failed; 2 bad usage or configuration; 130 interrupted"


def parser(wanted: Collection[str] = COMMANDS) -> argparse.ArgumentParser:
    """Of the commands only those that are `wanted` know their options; the others are but listed."""
    top = argparse.ArgumentParser(
        prog="tools/headrace",
        description="Trains reinforcement-learning agents with many processes: actors, replay shards, a learner.",
        epilog=_EXIT_CODES,
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        command = commands.add_parser(
            name,
            allow_abbrev=False,  # --seed would be --seeds, and many runs
            help=_summary(name),
            epilog=_EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name in wanted:
            module = _module(name)
            command.description = (module.__doc__ or "").strip()
            module.add_arguments(command)
    return top


def main(arguments: list[str]) -> int:
    """Runs a command and returns its exit code."""
    try:
        return _main(arguments)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second one has nothing to add
        print("interrupted", file=sys.stderr)
        return errors.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone, as in `headrace list | head`; nobody is left to be told.
        sys.stdout = None
        return errors.DONE


def _main(arguments: list[str]) -> int:
    top = parser(arguments[:1])
    parsed, unknown = top.parse_known_args(arguments)
    if unknown:
        _refuse(top, parsed.command, unknown)
    try:
        return _module(parsed.command).execute(parsed)
    except errors.CommandError as error:
        print(f"headrace {parsed.command}: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        if isinstance(error, BrokenPipeError) or error.filename is None:
            raise
        print(f"headrace {parsed.command}: {errors.of_file(error)}", file=sys.stderr)
        return errors.BAD_USAGE


def _refuse(top: argparse.ArgumentParser, command: str, unknown: list[str]) -> NoReturn:
    """In the words of the command that was given them, with the nearest of its options."""
    (commands,) = (action for action in top._actions if isinstance(action, argparse._SubParsersAction))
    options = [option for action in commands.choices[command]._actions for option in action.option_strings]
    near = difflib.get_close_matches(unknown[0].partition("=")[0], options, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    commands.choices[command].error(f"unrecognized arguments: {' '.join(unknown)}{hint}")


def _module(command: str) -> ModuleType:
    return importlib.import_module(f"headrace_cli.command_{command}")


def _summary(command: str) -> str:
    """The first line of the command's module, read rather than imported."""
    with Path(__file__).with_name(f"command_{command}.py").open(encoding="utf-8") as module:
        return module.readline().strip().strip('".')
