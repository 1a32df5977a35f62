"""A run is one directory: the paths in it, the lock that keeps it to one launcher, and what the launcher writes."""

import fcntl
import json
import math
import os
import re
import shlex
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from headrace_cli import workspace
from headrace_cli.csv_tail import Row, read_rows
from headrace_cli.errors import UsageError

ORPHANS_DRAIN_SECONDS = 180.0

# What a launcher that was killed early, or a refused start, may leave without having made a run of it, besides hidden
# files.
_BEFORE_A_RUN = {"checkpoints", "config.textproto.new", "launcher.lock", "lock", "logs", "plots", "prometheus"}
_MOST_LISTED = 5
_POSITION = ("env_steps", "wall_seconds", "updates")  # columns that all rows have

_RECORDED = {"name", "pid", "running", "attempts", "addresses", "log"}  # of each process
_CHECKPOINT_NAME = re.compile(r"update-(\d+)")


class RunDirectory:
    """Paths and files of one run. Only the launcher that holds the locks writes.

    `launcher.lock` is held by the launcher alone, `lock` by the launcher and all processes of the run: a directory of
    which only the second is held belongs to processes whose launcher was killed.
    """

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
        self.metadata = self.path / "metadata.json"
        # What this run was started with, for processes that are started again; only while it goes on. One that a killed
        # launcher left is removed by the next.
        self.binaries = self.path / "binaries"
        self._lock: IO[str] | None = None
        self._launcher_lock: IO[str] | None = None

    def show_to_prometheus(self) -> None:
        """Where deploy/prometheus/prometheus.yml looks: Prometheus finds many files only if they lie side by side. Runs
        outside of runs/ must be named there."""
        if (link := self._targets_link) is not None:
            link.parent.mkdir(parents=True, exist_ok=True)
            for other in filter(_is_of_a_removed_run, link.parent.iterdir()):  # Prometheus would look for it for ever
                other.unlink(missing_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(self.targets)

    def hide_from_prometheus(self) -> None:
        """Nothing without the lock: the run is another launcher's."""
        if self._lock is not None and (link := self._targets_link) is not None:
            link.unlink(missing_ok=True)

    @property
    def _targets_link(self) -> Path | None:
        if not self.path.is_relative_to(workspace.RUNS):
            return None
        return workspace.RUNS / ".targets" / ("-".join(self.path.relative_to(workspace.RUNS).parts) + ".json")

    def check_usable(self) -> None:
        """UsageError: it holds something, and that is no run, which would be lost among the files of one."""
        if self.is_run() or not self.path.is_dir():
            return
        if seeds := _seeds_in(self.path):
            raise UsageError(f"{self.path} holds the runs of several seeds, {_listed(seeds)}: name one, or give --seeds")
        names = {entry.name for entry in self.path.iterdir() if not entry.name.startswith(".")}
        if others := sorted(names - _BEFORE_A_RUN):
            expected = "expected a directory that is empty or new; what a refused start has left may be deleted"
            raise UsageError(f"{self.path} holds no run, but {_listed(others)}: {expected}")

    def create_and_lock(self, report: Callable[[str], None] = lambda _: None) -> None:
        """Makes the directory and takes it for this launcher and the processes that inherit the lock.

        It is free when all of them have ended, however they ended. After a launcher was killed, its processes may still
        be draining: that is reported and waited for. UsageError: the directory cannot be made or written, or another
        launcher has it.
        """
        try:
            for directory in (self.logs, self.checkpoints, self.picture.parent):
                directory.mkdir(parents=True, exist_ok=True)
            self._launcher_lock = (self.path / "launcher.lock").open("a+")
            self._lock = (self.path / "lock").open("a+")
        except OSError as error:
            self.unlock()
            raise UsageError(f"the run directory {self.path} cannot be written: {error.strerror}") from error
        if not _try_lock(self._launcher_lock):
            self.unlock()
            raise UsageError(f"the run directory {self.path} is in use by another launcher")
        if not _try_lock(self._lock):
            self._wait_for_orphans(report)

    @property
    def inherited_by_processes(self) -> tuple[int, ...]:
        """File descriptors that hold `lock` for as long as any process has them."""
        return (self._lock.fileno(),) if self._lock else ()

    def unlock(self) -> None:
        for lock in (self._lock, self._launcher_lock):
            if lock is not None:
                lock.close()
        self._lock = self._launcher_lock = None

    def remove_binaries(self) -> None:
        if self._lock is not None:
            shutil.rmtree(self.binaries, ignore_errors=True)

    def remove_traces(self) -> None:
        """What a start with which nothing was learned has left, but for its logs: the directory is no run."""
        for path in (self.targets, self.processes, self.progress, self.evaluations, self.metadata):
            path.unlink(missing_ok=True)
        for directory in (self.checkpoints, self.path / "tb"):
            shutil.rmtree(directory, ignore_errors=True)
        self.config.unlink(missing_ok=True)

    def is_run(self) -> bool:
        return self.config.exists()

    def has_checkpoint(self) -> bool:
        return self.has_best() or self.can_go_on()

    def can_go_on(self) -> bool:
        """Whether there is a checkpoint from which the learner goes on; `best` has the policy alone."""
        return bool(self._numbered_checkpoints())

    def has_best(self) -> bool:
        return _is_complete(self.checkpoints / "best")

    def best_return(self) -> float | None:
        """Of the weights in `best`, whose evaluation may be of a stretch that the run has lost since."""
        found = _in_manifest(self.checkpoints / "best", r"best_evaluation: (-?[0-9.e+-]+)")
        return float(found) if found else None

    def end_reason(self) -> str:
        """Why the run was over when its newest checkpoint was written; empty: it was not."""
        numbered = self._numbered_checkpoints()
        return _in_manifest(numbered[max(numbered)], r'end_reason: "(.*)"') if numbered else ""

    def checkpoint(self, which: str) -> Path:
        """The directory of a complete checkpoint: `best`, `latest` or an update number. UsageError: there is none."""
        if which == "best":
            if self.has_best():
                return self.checkpoints / "best"
            raise UsageError(f"{self.checkpoints} has no checkpoint `best`: no evaluation has been finished")
        numbered = self._numbered_checkpoints()
        if which == "latest" and numbered:
            return numbered[max(numbered)]
        if not numbered and which == "latest":
            raise UsageError(f"{self.checkpoints} has no checkpoint yet")
        number = which.removeprefix("update-")  # as the directory is called
        if number.isdecimal() and int(number) in numbered:
            return numbered[int(number)]
        known = ["best"] * self.has_best() + ["latest"] * bool(numbered) + [str(update) for update in sorted(numbered)]
        raise UsageError(f"{self.checkpoints} has no checkpoint {which!r}; it has {', '.join(known) or 'none'}")

    def evaluation_rows(self) -> list[Row]:
        return _rows_with(self.evaluations, (*_POSITION, "mean_return", "std_return", "episodes"))

    def last_evaluation(self) -> Row | None:
        rows = self.evaluation_rows()
        return rows[-1] if rows else None

    def progress_rows(self) -> list[Row]:
        return _rows_with(self.progress, _POSITION)

    def recorded_processes(self) -> list[dict[str, Any]]:
        """As the launcher recorded them; entries of a file that somebody has damaged may lack something."""
        processes = read_object(self.processes).get("processes")
        if not isinstance(processes, list):
            return []
        return [one for one in processes if isinstance(one, dict) and one.keys() >= _RECORDED]

    def launcher_was_killed(self) -> bool:
        """Of a run whose last processes may be there still: they end by themselves, and nobody starts them again."""
        launcher = read_object(self.processes).get("launcher")
        return isinstance(launcher, dict) and started_at(launcher.get("pid", 0)) != launcher.get("started_at")

    def has_ended(self) -> bool:
        """By its stop conditions, not by an interruption."""
        return self.result.exists() or bool(self.end_reason())

    def typed(self) -> str:
        """The command that started it last; empty: not known."""
        words = read_object(self.metadata).get("command_line")
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            return ""
        return words[0] if len(words) == 1 else shlex.join(words)

    def wall_seconds(self) -> float:
        """For which it has run, as far as its files tell."""
        return self._reached("wall_seconds")

    def env_steps(self) -> float:
        """That it has made, as far as its files tell."""
        return self._reached("env_steps")

    def _reached(self, column: str) -> float:
        newest = [*self.progress_rows()[-1:], *self.evaluation_rows()[-1:]]
        return max(filter(math.isfinite, (row.get(column, 0.0) for row in newest)), default=0.0)

    def _wait_for_orphans(self, report: Callable[[str], None]) -> None:
        assert self._lock is not None
        report(f"waiting for the processes of a launcher that was killed to leave {self.path}")
        deadline = time.monotonic() + ORPHANS_DRAIN_SECONDS
        while not _try_lock(self._lock):
            if time.monotonic() > deadline:
                self.unlock()
                raise UsageError(f"processes of an earlier launcher still use {self.path}; see its processes.json")
            time.sleep(0.1)

    def _numbered_checkpoints(self) -> dict[int, Path]:
        if not self.checkpoints.is_dir():
            return {}
        found = ((_CHECKPOINT_NAME.fullmatch(entry.name), entry) for entry in self.checkpoints.iterdir())
        return {int(match[1]): entry for match, entry in found if match and _is_complete(entry)}


def _is_of_a_removed_run(link: Path) -> bool:
    """Whether it leads to a file that is gone, and not one that this machine cannot see."""
    try:
        target = link.readlink()
        return not target.exists() and target.parent.parent.is_dir()
    except OSError:  # it is no link, or what it leads to may not be looked at
        return False


def open_run(path: Path) -> RunDirectory:
    """An existing run. UsageError: the directory holds none."""
    directory = RunDirectory(path)
    if directory.is_run():
        return directory
    if not path.is_dir():
        raise UsageError(f"there is no directory {path}")
    seeds = _seeds_in(path)
    hint = f"; it has those of several seeds: {_listed(seeds)}" if seeds else ""
    raise UsageError(f"{path} is not a run directory: it has no config.textproto{hint}")


def started_at(pid: int) -> int:
    """When a process of this machine was started, in clock ticks since the machine was: with its number that tells it from
    all others. 0: there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[19])


def is_alive(process: dict[str, Any]) -> bool:
    """The recorded process, not another one that got its number later: the log names the run."""
    if not process["running"]:
        return False
    try:
        command = Path(f"/proc/{process['pid']}/cmdline").read_bytes()
    except OSError:
        return False
    return str(Path(process["log"]).parents[1]).encode() in command


def check_has_networks(path: Path) -> None:
    """UsageError: it is neither a run directory with a checkpoint nor a checkpoint from which a run can start."""
    if not path.is_dir():
        raise UsageError(f"there is no directory {path}")
    checkpoint = path if _is_complete(path) else open_run(path).checkpoint("latest")
    # docs/formats/checkpoint.md; `best` has the policy alone.
    if not (checkpoint / "algorithm.safetensors").exists():
        raise UsageError(f"the checkpoint {checkpoint} has no algorithm.safetensors, from which a run could start")


def write_atomically(path: Path, text: str) -> None:
    """Readers see the old file or the new one, never a part."""
    temporary = path.with_name(path.name + ".new")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())  # otherwise the new name may outlive a power failure that its contents do not
    os.replace(temporary, path)


def write_json(path: Path, value: Any) -> None:
    write_atomically(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """The file's value; None if it is not there, or is no JSON: a file system that lost power may leave it empty."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def read_object(path: Path) -> dict[str, Any]:
    """The same of a file that holds an object; an empty one if it does not."""
    value = read_json(path)
    return value if isinstance(value, dict) else {}


def _rows_with(path: Path, columns: tuple[str, ...]) -> list[Row]:
    """Those of a file that somebody has damaged may lack some."""
    return [row for row in read_rows(path) if row.keys() >= set(columns)]


def _seeds_in(path: Path) -> list[str]:
    """Names of the runs that `run --seeds` made there."""
    return sorted(entry.name for entry in path.glob("seed-*") if RunDirectory(entry).is_run()) if path.is_dir() else []


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_MOST_LISTED]) + (", ..." if len(names) > _MOST_LISTED else "")


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _in_manifest(checkpoint: Path, field: str) -> str:
    """What the pattern's group stands for in the checkpoint's manifest; empty: nothing does."""
    try:
        manifest = (checkpoint / "MANIFEST.textproto").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    found = re.search(rf"^ *{field}$", manifest, re.MULTILINE)
    return found[1] if found else ""


def _is_complete(checkpoint: Path) -> bool:
    """The manifest is written last: a checkpoint without it does not exist."""
    return (checkpoint / "MANIFEST.textproto").exists()
