"""One process that the launcher looks after: how it is started, when it serves, and what it leaves in its log.

A child says that it serves by writing its ready file, JSON with the addresses it chose:
{"grpc": "127.0.0.1:1234", "metrics": "...", "health": "..."}. Started again, it is given the same addresses, so that
its peers find it where it was.
"""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from headrace_cli.errors import INTERRUPTED
from headrace_cli.log_lines import ErrorFollower

Addresses = dict[str, str]

# What a child that has never served listens on: a port of the system's choice.
ANY_PORT = "127.0.0.1:0"

_LISTEN_FLAGS = {"grpc": "--listen", "metrics": "--metrics_listen", "health": "--health_listen"}


@dataclass(frozen=True)
class ChildSpec:
    """What to start.

    `arguments` is called at each start, with the gRPC address of every child that serves one, by name.
    """

    name: str  # as in "replay-0": the name of its log, and of its lines in the live view
    role: str  # "replay", "learner", "actor" or "evaluator"
    binary: Path
    arguments: Callable[[Mapping[str, str]], list[str]]
    serves: tuple[str, ...] = ("grpc", "metrics", "health")
    completes_run: bool = False  # its exit code 0 means that the run is over


class Child:
    """A child over all its lives. Not thread-safe: the thread that starts it must outlive it (it dies with that)."""

    def __init__(self, spec: ChildSpec, logs: Path, ready_files: Path, inherits: tuple[int, ...] = ()) -> None:
        """`inherits`: file descriptors that it keeps open, such as a lock's."""
        self.spec = spec
        self.log = logs / f"{spec.name}.log"
        self.addresses: Addresses = {}
        self.attempts = 0
        self.ready = False
        self.served = False  # it has been ready once
        self._heard_at = 0.0  # on the caller's clock: when its log was last seen to grow
        self._heard_bytes = 0
        self._errors = ErrorFollower(self.log)
        self._inherits = inherits
        self._ready_file = ready_files / f".{spec.name}.ready.json"
        self._process: subprocess.Popen[bytes] | None = None
        self._held: list[socket.socket] = []

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def choose_port(self, kind: str) -> None:
        """Chooses before the first start what it will listen on, and keeps the port from others until it serves: of two
        sockets that may share an address, one may be bound to it while the other listens."""
        held = socket.socket()
        self._held.append(held)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        self.addresses[kind] = f"127.0.0.1:{held.getsockname()[1]}"

    def start(self, grpc_addresses: Mapping[str, str], now: float) -> None:
        """Starts it in a session of its own, so that Ctrl-C on the terminal reaches only the launcher."""
        self.attempts += 1
        self.ready = False
        self._ready_file.unlink(missing_ok=True)
        command = [str(self.spec.binary), *self.spec.arguments(grpc_addresses), *self._standard_arguments()]
        with self.log.open("ab") as log:
            stamp = time.strftime("%Y-%m-%d %H:%M:%S")
            log.write(f"===== {stamp} {self.spec.name}, attempt {self.attempts}: {' '.join(command)}\n".encode())
            log.flush()
            self._heard_at, self._heard_bytes = now, log.tell()
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=self._inherits,
            )

    def check_ready(self) -> bool:
        """Whether it serves by now; reads the addresses when it first does."""
        if not self.ready and self._ready_file.exists():
            self.addresses = json.loads(self._ready_file.read_text(encoding="utf-8"))
            self.ready = self.served = True
            self.give_up_ports()
        return self.ready

    def last_word_at(self, now: float) -> float:
        """When its log was last seen to grow, or when it was started; the clock is that of `start`."""
        size = self.log.stat().st_size
        if size != self._heard_bytes:
            self._heard_at, self._heard_bytes = now, size
        return self._heard_at

    def new_errors(self, now: float) -> list[str]:
        """What it has written to its log as errors since the last call, or the first of them; the clock is any."""
        return self._errors.new_errors(now)

    def exit_code(self) -> int | None:
        """None while it runs; negative: it was ended by that signal."""
        return self._process.poll() if self._process else None

    def terminate(self) -> None:
        """Asks it to drain."""
        if self.running:
            assert self._process is not None
            self._process.terminate()

    def kill(self) -> None:
        """Ends it and whatever it started, at once."""
        if self.running:
            assert self._process is not None
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of its log, of the last attempt."""
        try:
            text = self.log.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""
        last_attempt = text.rpartition("\n===== ")[2].splitlines()[1:]
        return "\n".join(last_attempt[-lines:])

    def give_up_ports(self) -> None:
        """Those that were chosen for it: it has them itself now, or never will."""
        while self._held:
            self._held.pop().close()

    def forget_ready_file(self) -> None:
        self._ready_file.unlink(missing_ok=True)

    def _standard_arguments(self) -> list[str]:
        listen = [f"{_LISTEN_FLAGS[kind]}={self.addresses.get(kind, ANY_PORT)}" for kind in self.spec.serves]
        return [*listen, f"--ready_file={self._ready_file}", f"--die_with_parent={os.getpid()}"]


def describe_exit(code: int) -> str:
    """An exit code in words: "exit code 1", "killed by SIGSEGV"."""
    if code == INTERRUPTED:
        return "it was told to end"
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
