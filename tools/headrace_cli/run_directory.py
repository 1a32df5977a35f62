"""A run is one directory: the paths in it, the lock that keeps it to one launcher, and what the launcher writes."""

import fcntl
import json
import os
import re
from pathlib import Path
from typing import IO, Any

from headrace_cli.csv_tail import Row, read_rows
from headrace_cli.errors import UsageError

_CHECKPOINT_NAME = re.compile(r"update-(\d+)")


class RunDirectory:
    """Paths and files of one run. Only the launcher that holds the lock writes."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.config = self.path / "config.textproto"
        self.metadata = self.path / "metadata.json"
        self.evaluations = self.path / "evaluations.csv"
        self.progress = self.path / "progress.csv"
        self.checkpoints = self.path / "checkpoints"
        self.logs = self.path / "logs"
        self.picture = self.path / "plots" / "learning_curve.png"
        self.processes = self.path / "processes.json"
        self.targets = self.path / "targets.json"
        self.result = self.path / "result.json"
        self._lock: IO[str] | None = None

    def create_and_lock(self) -> None:
        """Makes the directory and takes it for this launcher; the lock ends with the process, however it ends.

        UsageError: it cannot be made or written, or another launcher has it.
        """
        try:
            for directory in (self.logs, self.checkpoints, self.picture.parent):
                directory.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / "lock").open("w")
        except OSError as error:
            raise UsageError(f"the run directory {self.path} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"the run directory {self.path} is in use by another launcher") from error

    def unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def is_run(self) -> bool:
        return self.config.exists()

    def checkpoint(self, which: str) -> Path:
        """The directory of a complete checkpoint: `best`, `latest` or an update number. UsageError: there is none."""
        if which == "best":
            if _is_complete(self.checkpoints / "best"):
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
