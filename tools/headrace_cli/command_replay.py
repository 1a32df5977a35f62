"""Shows what replay shards hold, and how fast it comes and goes: over one second, or with --watch until Ctrl-C.

Of a run on this machine its directory is enough; elsewhere shards are named by their addresses.

  tools/headrace replay runs/pendulum_sac
  tools/headrace replay 127.0.0.1:41235 127.0.0.1:41236 --watch
"""

import argparse
import re
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from headrace_cli import errors, security, workspace
from headrace_cli.errors import CommandError, UsageError
from headrace_cli.output import plain_console
from headrace_cli.replay_client import ReplayShard
from headrace_cli.run_directory import is_alive, open_run
from headrace_cli.replay_view import Answer, panels, plain_lines

INTERVAL_SECONDS = 1.0
WINDOW_ANSWERS = 6  # over which --watch takes its rates
TIMEOUT_SECONDS = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "shards", nargs="+", metavar="SHARD", help="HOST:PORT of a shard's gRPC service, or the directory of a run that goes on"
    )
    parser.add_argument("--watch", action="store_true", help="goes on until Ctrl-C")
    security.add_argument(parser)
    parser.add_argument("--no-build", action="store_true", help="use the binaries as they are")


def execute(arguments: argparse.Namespace) -> int:
    needed = (workspace.REPLAY_DESCRIPTORS, *([workspace.INSPECT] if arguments.certificates else []))
    workspace.ensure_built(needed, build=not arguments.no_build)
    if arguments.certificates:
        security.check_contents(arguments.certificates)
    console = plain_console()
    shards = [
        _WatchedShard(ReplayShard(address, TIMEOUT_SECONDS, arguments.certificates))
        for address in _addresses(arguments.shards)
    ]
    _ask(shards)
    if any(not shard.trouble for shard in shards):
        wait()
        _ask(shards)
        if arguments.watch:
            _watch(shards, console)
            return errors.DONE
        _show(shards, console)
    troubles = [shard.trouble for shard in shards if shard.trouble]
    if troubles:
        raise CommandError("\n".join(troubles))
    return errors.DONE


def _addresses(shards: list[str]) -> list[str]:
    addresses: list[str] = []
    for shard in shards:
        if re.fullmatch(r"\S+:\d+", shard):
            addresses.append(shard)
            continue
        if not shard or not Path(shard).is_dir():
            raise UsageError(f"expected the address of a replay shard as HOST:PORT, or the directory of a run, got {shard!r}")
        run = open_run(Path(shard))
        here = [
            process["addresses"]["grpc"]
            for process in run.recorded_processes()
            if is_alive(process) and process["name"].startswith("replay-") and "grpc" in process["addresses"]
        ]
        if not here:
            raise UsageError(f"{shard}: none of its replay shards is running")
        addresses += here
    return addresses


def wait() -> None:
    """From one answer to the next."""
    time.sleep(INTERVAL_SECONDS)


class _WatchedShard:
    """What a shard has said of late, and why it says nothing if it does not."""

    def __init__(self, shard: ReplayShard) -> None:
        self.trouble = ""
        self._shard = shard
        self._answers: deque[Answer] = deque(maxlen=WINDOW_ANSWERS)

    def ask(self) -> None:
        try:
            info = self._shard.info()
        except CommandError as error:
            self.trouble = str(error)
            return
        self.trouble = ""
        self._answers.append(Answer(self._shard.channel.address, time.monotonic(), info))

    def drawn(self, console: Console) -> RenderableType:
        if self.trouble:
            return Text(self.trouble, style="yellow")
        return Group(*panels(self._answers[0], self._answers[-1], console))

    def print_lines(self, console: Console) -> None:
        for line in [self.trouble] if self.trouble else plain_lines(self._answers[0], self._answers[-1]):
            console.print(Text(line), soft_wrap=True)


def _ask(shards: list[_WatchedShard]) -> None:
    """All at once, so that one that does not answer holds none of the others up for longer than itself."""
    with ThreadPoolExecutor(max_workers=min(len(shards), 16)) as pool:
        list(pool.map(_WatchedShard.ask, shards))


def _show(shards: list[_WatchedShard], console: Console) -> None:
    """Those that answer; why others do not is said at the end."""
    for shard in shards:
        if shard.trouble:
            continue
        if console.is_terminal:
            console.print(shard.drawn(console))
        else:
            shard.print_lines(console)


def _watch(shards: list[_WatchedShard], console: Console) -> None:
    """Until Ctrl-C. A shard that is gone is asked again and again: it may be on its way back."""
    live = Live(console=console, auto_refresh=False) if console.is_terminal else None
    with suppress(KeyboardInterrupt), live or nullcontext():
        while True:
            if live:
                live.update(Group(*(shard.drawn(console) for shard in shards)), refresh=True)
            else:
                for shard in shards:
                    shard.print_lines(console)
            wait()
            _ask(shards)
