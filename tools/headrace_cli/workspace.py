"""Where the source tree and the built binaries are, and how they get built.

HEADRACE_BINARIES names a directory that has the binaries already, as in a container image without sources; it is laid
out as bazel-bin is (replay/replay, learner/learner, ...).
"""

import difflib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from headrace_cli.errors import CommandError, UsageError

ROOT = Path(__file__).resolve().parents[2]
RUNS = ROOT / "runs"  # where run directories are made unless one is named

INSPECT = "tools/inspect"
ACTOR = "actor/actor"
LEARNER = "learner/learner"
REPLAY = "replay/replay"
REPLAY_DESCRIPTORS = "proto/replay.descriptors"  # no program, but found and built as they are
PROCESS_BINARIES = (ACTOR, LEARNER, REPLAY)
RUN_BINARIES = (*PROCESS_BINARIES, INSPECT)

# Beside the binaries: for each of those that were built here how it looked then, and the revision it is of.
BUILD_RECORD = "headrace_build.json"


def binaries_directory() -> Path:
    given = os.environ.get("HEADRACE_BINARIES")
    return Path(given).absolute() if given else ROOT / "bazel-bin"


def binary(name: str) -> Path:
    """The path of a binary, by its path under bazel-bin. UsageError: it is not there."""
    path = binaries_directory() / name
    if not path.is_file():
        raise UsageError(f"{path} is missing: build it with `bazel build {target_of(name)}`")
    return path


def copy_binaries(names: tuple[str, ...], directory: Path) -> None:
    """Takes binaries over into a directory, laid out as they were: a run whose processes are started again must not get
    those of a later build. UsageError: one is not there."""
    shutil.rmtree(directory, ignore_errors=True)
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(binary(name), directory / name)
    # They look for shared libraries beside their directories first.
    for libraries in binaries_directory().glob("_solib*"):
        (directory / libraries.name).symlink_to(libraries)


def target_of(name: str) -> str:
    """The Bazel target that builds a binary: replay/replay is built by //replay:replay."""
    package, _, target = name.rpartition("/")
    return f"//{package}:{target}"


def check_configuration(path: Path) -> None:
    """UsageError: there is no such file; it names those of deploy/run that are named alike."""
    if path.is_file():
        return
    if path.is_dir():
        raise UsageError(f"{path} is a directory: expected a configuration file, as those of deploy/run")
    known = {one.stem: one for one in (ROOT / "deploy" / "run").glob("*.textproto")}
    # As it can be typed where the user is.
    near = [os.path.relpath(known[name]) for name in difflib.get_close_matches(path.stem, sorted(known), n=1)]
    raise UsageError(f"there is no configuration file {path}" + (f"; did you mean {near[0]}?" if near else ""))


def ensure_built(names: tuple[str, ...], build: bool = True) -> None:
    """Brings the binaries up to date with the sources. Without `build`, or where there are no sources, only checks that
    they are there."""
    if not build or os.environ.get("HEADRACE_BINARIES") or not (ROOT / "WORKSPACE").exists():
        for name in names:
            binary(name)
        return
    bazel_build([target_of(name) for name in names])
    record_build(names, revision())


def record_build(names: tuple[str, ...], of_revision: str) -> None:
    """Remembers, for built_revision, what the binaries have just been built from."""
    record = _build_record()
    record.update({name: {"revision": of_revision, **_looks(name)} for name in names})
    path = binaries_directory() / BUILD_RECORD
    new = path.with_suffix(".new")
    new.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    new.replace(path)


def built_revision(names: tuple[str, ...]) -> str:
    """The revision of the sources that the binaries were built from, or why it is not known."""
    record = _build_record()
    if any(_looks(name).items() - record.get(name, {}).items() for name in names):
        return "not known: the binaries are not as tools/headrace built them"
    revisions = {record[name]["revision"] for name in names}
    if len(revisions) > 1:
        return "not known: the binaries are of several revisions"
    return revisions.pop() or "not known: the sources are no git checkout"


def _build_record() -> dict[str, dict[str, str | int]]:
    try:
        return json.loads((binaries_directory() / BUILD_RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def _looks(name: str) -> dict[str, int]:
    """What differs after another build of a binary."""
    status = binary(name).stat()
    return {"bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def revision(root: Path = ROOT) -> str:
    """Git's name for the sources, ending in -dirty where they differ from it; empty if git does not know them."""
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--exclude=*", "--abbrev=40", "--dirty"]
    try:
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return result.stdout.strip()


_BAZEL_INTERRUPTED = 8  # its exit code
PROGRESS_SECONDS = 30.0  # between two lines that say how far a build is


def bazel_build(targets: list[str]) -> None:
    """Builds targets. Bazel draws its progress on a terminal; elsewhere its output is shown only if it fails, and what
    collect tells meanwhile."""
    command = ["bazel", "build", *targets]
    on_terminal = sys.stderr.isatty()
    if on_terminal:
        command[2:2] = ["--ui_event_filters=-info", "--show_result=0"]  # its progress alone
    else:
        print("building " + " ".join(targets), file=sys.stderr, flush=True)
        command[2:2] = ["--color=no", "--curses=no"]
    try:
        with subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=None if on_terminal else subprocess.DEVNULL,
            stderr=None if on_terminal else subprocess.PIPE,
            text=True,
        ) as process:
            output = collect(process.stderr) if process.stderr else ""
    except FileNotFoundError as error:
        raise CommandError("bazel is not installed: run tools/setup") from error
    if process.returncode == _BAZEL_INTERRUPTED:
        raise KeyboardInterrupt
    if process.returncode != 0:
        sys.stderr.write(output)
        raise CommandError("the build failed: see above")


def collect(stream: TextIO, clock: Callable[[], float] = time.monotonic) -> str:
    """All of Bazel's output. Whoever waits is told at once that it is for another build, and how far it is now and then."""
    lines = []
    told = clock()
    for line in stream:
        lines.append(line)
        is_progress = line.startswith("[") and clock() - told >= PROGRESS_SECONDS
        if is_progress:
            told = clock()
        if is_progress or line.startswith("Another command"):
            print(line.rstrip(), file=sys.stderr, flush=True)
    return "".join(lines)
