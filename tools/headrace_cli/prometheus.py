"""Starts the installed Prometheus beside a run, with the rules and pages of deploy/prometheus.

    with Prometheus(directory, [run.targets], port=0) as prometheus:
        print(prometheus.overview)

It scrapes what targets.json names every second, listens on loopback alone, keeps what it has seen in the directory, and
ends with this process, however that ends.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType

from headrace_cli import errors
from headrace_cli.child import describe_exit
from headrace_cli.errors import CommandError, UsageError
from headrace_cli.run_directory import read_json, write_json
from headrace_cli.workspace import ROOT

SOURCES = ROOT / "deploy" / "prometheus"
SCRAPE_INTERVAL = "1s"
READY_SECONDS = 30.0
STOP_SECONDS = 10.0
# It hands on every 5 s what it has discovered.
KNOWN_SECONDS = 15.0
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def check_usable(port: int) -> None:
    """UsageError: Prometheus is not installed, or the port is taken."""
    if shutil.which("prometheus") is None:
        raise UsageError(
            "--prometheus: Prometheus is not installed: `apt-get install prometheus` or tools/setup --test installs it"
        )
    if port and not _is_free(port):
        raise UsageError(
            f"--prometheus-port {port}: the port is in use: name another, or none, and a free one is taken"
        )


# Seconds that the pages offer to show.
RANGES = (120, 600, 3600, 21600, 86400, 604800)


class Prometheus:
    """A context manager. CommandError: it does not start, and why."""

    def __init__(self, directory: Path, targets: list[Path], port: int = 0) -> None:
        """`directory` is made where it is missing; port 0 takes a free one."""
        self.address = f"127.0.0.1:{port or _free_port()}"
        self.log = directory / "prometheus.log"
        self._directory = directory
        self._targets = targets
        self._process: subprocess.Popen[bytes] | None = None
        self._patience: dict[Path, float] = {}  # how long it is waited for until it knows of these targets

    @property
    def overview(self) -> str:
        """Where the page is that a browser should open."""
        return f"http://{self.address}/consoles/overview.html"

    def overview_of(self, begin: float, end: float) -> str:
        """The same page, as it shows what was between two times of the clock."""
        seconds = next((seconds for seconds in RANGES if seconds >= end - begin), RANGES[-1])
        return f"{self.overview}?range={seconds}&end={end:.1f}"

    @property
    def command(self) -> list[str]:
        """What starts it; also afterwards, to look at what it has seen."""
        return [
            "prometheus",
            f"--config.file={self._directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._directory / 'data'}",
            f"--web.listen-address={self.address}",
            f"--web.console.templates={SOURCES / 'consoles'}",
            f"--web.console.libraries={SOURCES / 'console_libraries'}",
        ]

    def __enter__(self) -> "Prometheus":
        check_usable(int(self.address.rpartition(":")[2]))
        self._directory.mkdir(parents=True, exist_ok=True)
        self._write_configuration(self._rules_and_targets())
        # A launcher that is killed leaves no Prometheus behind.
        command = ["setpriv", "--pdeathsig", "TERM", *self.command]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def take_end(self) -> str:
        """How it ended, though nobody stopped it, and what its log ends with. Empty: it goes on, or this was told."""
        if self._process is None or (code := self._process.poll()) is None:
            return ""
        self._process = None
        last_words = self._last_words()
        return f"{describe_exit(code)}; its log: {self.log}" + (f", which ends with\n{last_words}" if last_words else "")

    def stop(self) -> None:
        """Writes what is in memory, and ends. May be repeated."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        # Whoever starts it again looks at what is over: that nothing answers any more is no alarm. The run has ended well
        # also where the disk is full.
        with contextlib.suppress(OSError):
            self._write_configuration({})

    def knows(self, targets: Path) -> bool:
        """Whether it scrapes what this file names, or has ended, or has been waited for long enough."""
        if self._process is None or self._process.poll() is not None:
            return True
        if time.monotonic() > self._patience.setdefault(targets, time.monotonic() + KNOWN_SECONDS):
            return True
        return {address for entry in read_json(targets) or [] for address in entry["targets"]} <= self._scraped()

    def _scraped(self) -> set[str]:
        try:
            with _DIRECT.open(f"http://{self.address}/api/v1/targets?state=active", timeout=1) as answer:
                active = json.loads(answer.read())["data"]["activeTargets"]
        except (OSError, ValueError):
            return set()
        return {target["discoveredLabels"]["__address__"] for target in active}

    def _write_configuration(self, rules_and_targets: dict[str, object]) -> None:
        intervals = {"scrape_interval": SCRAPE_INTERVAL, "evaluation_interval": SCRAPE_INTERVAL}
        write_json(self._directory / "prometheus.yml", {"global": intervals} | rules_and_targets)  # JSON is YAML

    def _rules_and_targets(self) -> dict[str, object]:
        return {
            "rule_files": [str(path) for path in sorted((SOURCES / "rules").glob("*.yml"))],
            "scrape_configs": [
                {
                    "job_name": "headrace",
                    "file_sd_configs": [{"files": [str(path) for path in self._targets], "refresh_interval": "1s"}],
                }
            ],
        }

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + READY_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise CommandError(f"Prometheus does not start; its log ends with\n{self._last_words()}")
            time.sleep(0.05)

    def _last_words(self) -> str:
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
            return "\n".join([line for line in lines if "level=info" not in line][-3:])
        except OSError as error:
            return f"({errors.of_file(error)})"

    def _is_ready(self) -> bool:
        try:
            with _DIRECT.open(f"http://{self.address}/-/ready", timeout=1) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False


def query(address: str, expression: str, seconds: float = 10) -> list[dict[str, object]]:
    """The result of an instant query. CommandError: Prometheus does not understand it. OSError: it does not answer (yet)."""
    url = f"http://{address}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
    try:
        with _DIRECT.open(url, timeout=seconds) as answer:
            return json.loads(answer.read())["data"]["result"]
    except urllib.error.HTTPError as error:
        if error.code not in (400, 422):
            raise
        raise CommandError(f"{expression}: {json.loads(error.read())['error']}") from error


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
