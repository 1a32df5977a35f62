"""The libraries beside which Headrace is measured: each in a Python environment of its own, and each run a process.

The environments are made once, with pip, in a directory outside the source tree; Stable-Baselines3 is in .venv already.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import free_mkl
from loads import RLLIB, SAMPLE_FACTORY, STABLE_BASELINES3
from outcome import Failed, Outcome

INSTALL_SECONDS = 1800.0
_TORCH = "torch==2.13.0"  # before the others, so that none of them decides which build of it comes


@dataclass(frozen=True)
class Library:
    name: str
    title: str
    requirements: tuple[str, ...] = ()  # none: .venv has it


# Sample Factory does not name imageio, which its MuJoCo environments need, nor that they need an old MuJoCo; RLlib does
# not name pillow.
LIBRARIES = {
    one.name: one
    for one in (
        Library(STABLE_BASELINES3, "Stable-Baselines3"),
        Library(
            SAMPLE_FACTORY,
            "Sample Factory",
            ("sample-factory==2.1.1", "mujoco<3", "imageio", "setuptools", "minatar==1.0.15"),
        ),
        Library(RLLIB, "RLlib", ("ray[rllib]==2.60.0", "mujoco<4", "pillow", "imageio", "minatar==1.0.15")),
    )
}


def default_directory() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "headrace" / "bench"


def python_of(library: Library, directory: Path) -> Path:
    """Makes its environment unless that is there. Failed: it cannot be made."""
    if not library.requirements:
        return Path(sys.executable)
    environment = directory / library.name
    python, stamp = environment / "bin" / "python", environment / ".installed"
    wanted = " ".join((_TORCH, *library.requirements))
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    print(f"installing {library.title} into {environment}, once: some minutes", file=sys.stderr, flush=True)
    directory.mkdir(parents=True, exist_ok=True)
    _install([sys.executable, "-m", "venv", "--clear", str(environment)], library)
    for requirements in ((_TORCH,), library.requirements):
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _install([*pip, *requirements], library)
    stamp.write_text(wanted, encoding="utf-8")
    return python


def _install(command: list[str], library: Library) -> None:
    try:
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{library.title} cannot be installed: {INSTALL_SECONDS:.0f} s were not enough") from error
    if result.returncode != 0:
        last = (result.stderr.strip() or result.stdout.strip() or "it said nothing").splitlines()[-1]
        raise Failed(f"{library.title} cannot be installed: {' '.join(command)}: {last}")


def run(library: Library, python: Path, settings: dict[str, Any], seconds: float) -> Outcome:
    """Runs library_NAME.py, which reads the settings from a file and writes what it came to into another.

    Failed: it failed, or took longer than so many seconds.
    """
    program = Path(__file__).with_name(f"library_{library.name}.py")
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        directory = Path(name)
        given, result, log = directory / "settings.json", directory / "result.json", directory / "log"
        given.write_text(json.dumps(settings | {"directory": name}), encoding="utf-8")
        with log.open("w") as output:
            process = subprocess.Popen(
                [str(python), str(program), str(given), str(result)],
                cwd=directory,  # MuJoCo's Python package writes MUJOCO_LOG.TXT where it is
                env={**os.environ, "LD_PRELOAD": str(free_mkl.library(directory)), "CUDA_VISIBLE_DEVICES": ""},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = process.wait(seconds)
            except subprocess.TimeoutExpired as error:
                raise Failed(f"{library.title} was not done after {seconds:.0f} s") from error
            finally:
                _kill_group(process)
        if code != 0 or not result.exists():
            last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]
            raise Failed("\n".join([f"{library.title} ended with code {code}:", *last]))
        return Outcome(**json.loads(result.read_text(encoding="utf-8")))


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    """With all that it has started: what still runs would take time from what is measured next."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
