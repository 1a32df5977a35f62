"""A run is one directory: the paths in it, the lock that keeps it to one launcher, and what the launcher writes."""

import fcntl
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from headrace_cli.csv_tail import Row, read_rows
from headrace_cli.errors import UsageError

ORPHANS_DRAIN_SECONDS = 120.0

_CHECKPOINT_NAME = re.compile(r"update-(\d+)")


class RunDirectory:
    """Paths and files of one run. Only the launcher that holds the lock writes."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.config = self.path / "config.textproto"
        self.evaluations = self.path / "evaluations.csv"
        self.progress = self.path / "progress.csv"
        self.checkpoints = self.path / "checkpoints"
        self.logs = self.path / "logs"
        self.picture = self.path / "plots" / "learning_curve.png"
        self.processes = self.path / "processes.json"
        self.targets = self.path / "targets.json"
        self.result = self.path / "result.json"
        self._lock: IO[str] | None = None

    def create_and_lock(self, report: Callable[[str], None] = lambda _: None) -> None:
        """Makes the directory and takes it for this launcher and the processes that inherit the lock.

        It is free when all of them have ended, however they ended. After a launcher was killed, its processes may still
        be draining: that is reported and waited for. UsageError: the directory cannot be made or written, or another
        launcher has it.
        """
        try:
            for directory in (self.logs, self.checkpoints, self.picture.parent):
                directory.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / "lock").open("a+")
        except OSError as error:
            raise UsageError(f"the run directory {self.path} cannot be written: {error.strerror}") from error
        if not self._try_lock():
            self._wait_for_orphans(report)
        self._lock.truncate(0)
        self._lock.write(f"{os.getpid()}\n")
        self._lock.flush()

    @property
    def inherited_by_processes(self) -> tuple[int, ...]:
        """File descriptors that hold the lock for as long as any process has them."""
        return (self._lock.fileno(),) if self._lock else ()

    def unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def is_run(self) -> bool:
        return self.config.exists()

    def has_best(self) -> bool:
        return _is_complete(self.checkpoints / "best")

    def checkpoint(self, which: str) -> Path:
        """The directory of a complete checkpoint: `best`, `latest` or an update number. UsageError: there is none."""
        if which == "best":
            if self.has_best():
                return self.checkpoints / "best"
            raise UsageError(f"{self.checkpoints} has no checkpoint `best`: no evaluation has been finished")
        numbered = self._numbered_checkpoints()
        if which == "latest" and numbered:
            return numbered[max(numbered)]
        if which.isdecimal() and int(which) in numbered:
            return numbered[int(which)]
        known = ", ".join(str(update) for update in sorted(numbered)) or "none"
        raise UsageError(f"{self.checkpoints} has no checkpoint {which!r}; of updates: {known}")

    def evaluation_rows(self) -> list[Row]:
        return read_rows(self.evaluations)

    def progress_rows(self) -> list[Row]:
        return read_rows(self.progress)

    def _try_lock(self) -> bool:
        assert self._lock is not None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _wait_for_orphans(self, report: Callable[[str], None]) -> None:
        assert self._lock is not None
        self._lock.seek(0)
        launcher = self._lock.read().strip()
        if not launcher or Path(f"/proc/{launcher}").exists():
            self.unlock()
            raise UsageError(f"the run directory {self.path} is in use by another launcher (process {launcher})")
        report(f"waiting for the processes of a launcher that was killed to leave {self.path}")
        deadline = time.monotonic() + ORPHANS_DRAIN_SECONDS
        while not self._try_lock():
            if time.monotonic() > deadline:
                self.unlock()
                raise UsageError(f"processes of an earlier launcher still use {self.path}; see its processes.json")
            time.sleep(0.1)

    def _numbered_checkpoints(self) -> dict[int, Path]:
        if not self.checkpoints.is_dir():
            return {}
        found = ((_CHECKPOINT_NAME.fullmatch(entry.name), entry) for entry in self.checkpoints.iterdir())
        return {int(match[1]): entry for match, entry in found if match and _is_complete(entry)}


def open_run(path: Path) -> RunDirectory:
    """An existing run. UsageError: the directory holds none."""
    directory = RunDirectory(path)
    if not directory.is_run():
        raise UsageError(f"{path} is not a run directory: it has no config.textproto")
    return directory


def write_atomically(path: Path, text: str) -> None:
    """Readers see the old file or the new one, never a part."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def write_json(path: Path, value: Any) -> None:
    write_atomically(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """The file's value; None if it is not there."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def _is_complete(checkpoint: Path) -> bool:
    """The manifest is written last: a checkpoint without it does not exist."""
    return (checkpoint / "MANIFEST.textproto").exists()
