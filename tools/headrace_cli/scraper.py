"""Asks the processes of a run for their metrics in the background, about once a second."""

import threading
import time
from collections.abc import Callable, Mapping

from headrace_cli.metrics import fetch_all
from headrace_cli.status import Plan, Status, StatusTracker

INTERVAL_SECONDS = 1.0


class Scraper:
    """A thread from `start` to `stop`. `status` may be called from any thread, and never waits for the network."""

    def __init__(self, plan: Plan, addresses: Callable[[], Mapping[str, str]]) -> None:
        """`addresses` is called from the thread: where to ask now, by process name."""
        self._addresses = addresses
        self._tracker = StatusTracker(plan)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._status = Status()  # guarded by _lock
        self._thread = threading.Thread(target=self._run, name="scraper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def status(self) -> Status:
        with self._lock:
            return self._status

    def _run(self) -> None:
        while not self._stop.is_set():
            answers = fetch_all(self._addresses())
            if any(answers.values()):
                self._tracker.add(time.monotonic(), answers)
                with self._lock:
                    self._status = self._tracker.status()
            self._stop.wait(INTERVAL_SECONDS)
