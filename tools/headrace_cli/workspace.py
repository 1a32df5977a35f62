"""Where the source tree and the built binaries are, and how they get built.

HEADRACE_BINARIES names a directory that has the binaries already, as in a container image without sources; it is laid
out as bazel-bin is (replay/replay, learner/learner, ...).
"""

import os
import subprocess
import sys
from pathlib import Path

from headrace_cli.errors import CommandError, UsageError

ROOT = Path(__file__).resolve().parents[2]

INSPECT = "tools/inspect"
ACTOR = "actor/actor"
LEARNER = "learner/learner"
REPLAY = "replay/replay"
RUN_BINARIES = (ACTOR, LEARNER, REPLAY, INSPECT)


def binaries_directory() -> Path:
    given = os.environ.get("HEADRACE_BINARIES")
    return Path(given).absolute() if given else ROOT / "bazel-bin"


def binary(name: str) -> Path:
    """The path of a binary, by its path under bazel-bin. UsageError: it is not there."""
    path = binaries_directory() / name
    if not path.is_file():
        raise UsageError(f"{path} is missing: build it with `bazel build {target_of(name)}`")
    return path


def target_of(name: str) -> str:
    """The Bazel target that builds a binary: replay/replay is built by //replay:replay."""
    package, _, target = name.rpartition("/")
    return f"//{package}:{target}"


def ensure_built(names: tuple[str, ...], build: bool = True) -> None:
    """Brings the binaries up to date with the sources. Without `build`, only checks that they are there."""
    if not build or os.environ.get("HEADRACE_BINARIES") or not (ROOT / "WORKSPACE").exists():
        for name in names:
            binary(name)
        return
    bazel_build([target_of(name) for name in names])


def bazel_build(targets: list[str]) -> None:
    """Builds targets. Bazel draws its progress on a terminal; elsewhere its output is shown only if it fails."""
    command = ["bazel", "build", *targets]
    on_terminal = sys.stderr.isatty()
    if not on_terminal:
        print("building " + " ".join(targets), file=sys.stderr, flush=True)
        command[2:2] = ["--color=no", "--curses=no"]
    try:
        result = subprocess.run(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=not on_terminal, text=True, check=False
        )
    except FileNotFoundError as error:
        raise CommandError("bazel is not installed: run tools/setup") from error
    if result.returncode != 0:
        if not on_terminal:
            sys.stderr.write(result.stderr)
        raise CommandError("the build failed: see above")
