"""The commands: what `tools/headrace --help` lists. Each command is a module with `add_arguments` and `execute`."""

import argparse
import sys
from types import ModuleType

from headrace_cli import (
    command_bench,
    command_check,
    command_eval,
    command_list,
    command_plot,
    command_replay,
    command_run,
    command_top,
    errors,
)

_COMMANDS: dict[str, ModuleType] = {
    "run": command_run,
    "check": command_check,
    "eval": command_eval,
    "plot": command_plot,
    "top": command_top,
    "replay": command_replay,
    "list": command_list,
    "bench": command_bench,
}

_EXIT_CODES = """exit codes: 0 done; 1 the run or command failed; 2 bad usage or configuration; 130 interrupted, after
draining and a checkpoint"""


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="tools/headrace",
        description="Trains reinforcement-learning agents with many processes: actors, replay shards, a learner.",
        epilog=_EXIT_CODES,
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in _COMMANDS.items():
        text = (module.__doc__ or "").strip()
        command = commands.add_parser(
            name,
            help=text.splitlines()[0].rstrip("."),
            description=text,
            epilog=_EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
    return top


def main(arguments: list[str]) -> int:
    """Runs a command and returns its exit code."""
    parsed = parser().parse_args(arguments)
    try:
        return _COMMANDS[parsed.command].execute(parsed)
    except errors.CommandError as error:
        print(f"headrace {parsed.command}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return errors.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone, as in `headrace list | head`; nobody is left to be told.
        sys.stdout = None
        return errors.DONE
