"""Runs of the real launcher and binaries, as tests start, watch and break them.

    run = Run(self, "stop.env_steps=3000")
    run.start()
    run.wait_for_env_steps(1500)
    os.kill(run.pid("actor-0"), signal.SIGKILL)
    code, output = run.wait()

Nothing here sleeps for a set time: conditions are polled, with a deadline that only a hang reaches.
"""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from collections.abc import Callable
from pathlib import Path

from headrace_cli.csv_tail import Row, read_rows
from headrace_cli.metrics import Scrape, fetch

DEADLINE_SECONDS = 900.0
PENDULUM = Path("deploy/run/pendulum_sac.textproto").absolute()

# The shortest run that still has every part but an evaluator: one actor, one shard, small batches.
TINY = (
    "actor.processes=1",
    "replay.shards=1",
    "replay.min_steps=100",
    "evaluation.processes=0",
    "sac.random_steps=100",
    "sac.batch_size=16",
    "stop.score=",
    "stop.env_steps=600",
)

_LAUNCHER = "import sys; from headrace_cli.main import main; sys.exit(main(sys.argv[1:]))"


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {DEADLINE_SECONDS:.0f} s: {what}")
        time.sleep(0.01)


def headrace(*arguments: str) -> tuple[int, str]:
    """Runs a command of tools/headrace to its end. Returns its exit code and everything it printed."""
    command = [sys.executable, "-c", _LAUNCHER, *arguments]
    result = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return result.returncode, result.stdout


class SystemTest(unittest.TestCase):
    """Gives each test a directory of its own."""

    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.root = Path(temporary.name)

    def assert_mentions(self, output: str, *texts: str) -> None:
        for text in texts:
            self.assertIn(text, output)


class Run:
    """A run in a directory of its own; what it leaves running is killed when the test ends."""

    def __init__(self, test: SystemTest, *overrides: str, config: Path = PENDULUM, name: str = "run") -> None:
        self.path = test.root / name
        self.overrides = list(overrides)
        self.launcher: subprocess.Popen[str] | None = None
        self._config = config
        self._test = test
        self._told = False  # how the last start went

    def command(self, *arguments: str) -> list[str]:
        sets = [word for override in self.overrides for word in ("--set", override)]
        return ["run", str(self._config), "--dir", str(self.path), *sets, *arguments]

    def to_end(self, *arguments: str) -> tuple[int, str]:
        self.start(*arguments)
        return self.wait()

    def start(self, *arguments: str) -> None:
        self._told = False
        with (self._test.root / "output").open("w", encoding="utf-8") as output:
            self.launcher = subprocess.Popen(
                [sys.executable, "-c", _LAUNCHER, *self.command(*arguments)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                # Where Matplotlib keeps its list of fonts, which takes seconds to make: once for all runs of a test.
                env={"MPLCONFIGDIR": os.environ.get("TEST_TMPDIR", str(self._test.root)), **os.environ},
            )
        self._test.addCleanup(self._end, self.launcher)

    def wait(self) -> tuple[int, str]:
        """Waits for the launcher's end. Returns its exit code and output, which goes to a failing test's log too."""
        assert self.launcher is not None
        code = self.launcher.wait(timeout=DEADLINE_SECONDS)
        self._tell()
        return code, self.output()

    def output(self) -> str:
        """What the launcher has printed so far."""
        return (self._test.root / "output").read_text(encoding="utf-8")

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Waits for something that happens while the run goes on."""
        assert self.launcher is not None
        launcher = self.launcher

        def reached() -> bool:
            if condition():
                return True
            if launcher.poll() is not None:
                raise AssertionError(f"the run ended with code {launcher.returncode} before {what}")
            return False

        wait_until(reached, what)

    def signal(self, number: signal.Signals) -> None:
        assert self.launcher is not None
        self.launcher.send_signal(number)

    def kill_process(self, name: str) -> None:
        os.kill(self.pid(name), signal.SIGKILL)

    def processes(self) -> dict[str, dict]:
        try:
            record = json.loads((self.path / "processes.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return {process["name"]: process for process in record["processes"]}

    def pid(self, name: str) -> int:
        return self.processes()[name]["pid"]

    def metric(self, process: str, name: str) -> float | None:
        """The sum over its label sets; None if it does not serve that now."""
        scrape = self.scrape(process)
        return scrape.total(name) if scrape else None

    def scrape(self, process: str) -> Scrape | None:
        address = self.processes().get(process, {}).get("addresses", {}).get("metrics")
        return fetch(address, timeout=DEADLINE_SECONDS) if address else None

    def wait_for_metric(self, process: str, name: str, at_least: float) -> Scrape:
        """Returns all that was told at that moment: the run may be over when somebody asks again."""
        scrapes: list[Scrape] = []

        def reached() -> bool:
            scrape = self.scrape(process)
            value = scrape.total(name) if scrape else None
            if scrape and value is not None and value >= at_least:
                scrapes.append(scrape)
            return bool(scrapes)

        self.wait_until(reached, f"{name} of {process} is {at_least} or more")
        return scrapes[0]

    def wait_for_env_steps(self, at_least: float) -> None:
        self.wait_for_metric("learner", "headrace_learner_run_env_steps", at_least)

    def log(self, process: str) -> str:
        return (self.path / "logs" / f"{process}.log").read_text(encoding="utf-8", errors="replace")

    def is_deserted(self) -> bool:
        """No process of the run lives: each of them inherits the lock of the run directory."""
        with (self.path / "lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    def evaluations(self) -> list[Row]:
        return read_rows(self.path / "evaluations.csv")

    def progress(self) -> list[Row]:
        return read_rows(self.path / "progress.csv")

    def checkpoints(self) -> list[Path]:
        """Of the learner, oldest first."""
        return sorted((self.path / "checkpoints").glob("update-*"))

    def counters(self, checkpoint: Path | None = None) -> dict[str, float]:
        """What the manifest of a checkpoint, by default the newest, counts."""
        manifest = (checkpoint or self.checkpoints()[-1]) / "MANIFEST.textproto"
        block = re.search(r"^counters \{\n(.*?)^\}", manifest.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        assert block is not None
        return {name: float(value) for name, value in re.findall(r"^  (\w+): (\S+)$", block[1], re.MULTILINE)}

    def _tell(self) -> None:
        """For the log of a test that fails."""
        self._told = True
        assert self.launcher is not None
        print(f"--- {self._test.id()}: exit code {self.launcher.poll()}\n{self.output()}")
        for log in sorted((self.path / "logs").glob("*.log")):
            print(f"--- {log.name}\n{log.read_text(encoding='utf-8', errors='replace')}", flush=True)

    def _end(self, launcher: subprocess.Popen[str]) -> None:
        launcher.kill()
        launcher.wait()
        if launcher is self.launcher and not self._told:
            self._tell()
        for process in self.processes().values():
            if process["running"] and not self.is_deserted():
                try:
                    os.killpg(process["pid"], signal.SIGKILL)
                except ProcessLookupError:
                    pass
        if (self.path / "lock").exists():
            wait_until(self.is_deserted, "every process has ended")
