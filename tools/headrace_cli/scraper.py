"""Asks the processes of a run for their metrics in the background, about once a second."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from headrace_cli.csv_tail import Row
from headrace_cli.metrics import fetch_all
from headrace_cli.status import Answers, Plan, Status, StatusTracker

INTERVAL_SECONDS = 1.0


class Scraper:
    """A thread from `start` to `stop`. What it knows may be asked from any thread, and never waits for the network."""

    def __init__(
        self,
        plan: Plan,
        addresses: Callable[[], Mapping[str, str]],
        last_evaluation: Callable[[], Row | None],
        fetch: Callable[[Mapping[str, str]], Answers] = fetch_all,
        report: Callable[[str], None] = print,
    ) -> None:
        """Called from the thread are `addresses` (where to ask now, by process name), `last_evaluation`, and `report`
        with what kept it from asking."""
        self._addresses = addresses
        self._last_evaluation = last_evaluation
        self._fetch = fetch
        self._report = report
        self._trouble = ""
        self._tracker = StatusTracker(plan)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._status = Status()  # guarded by _lock
        self._with_learner = Status()  # guarded by _lock
        self._drains = False  # guarded by _lock
        self._learner_answered_at = 0.0  # guarded by _lock
        self._rounds_without_learner = 0
        self._thread = threading.Thread(target=self._run, name="scraper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def hold_verdict(self) -> None:
        """The run drains: who is waited for now does not limit it."""
        with self._lock:
            self._drains = True

    def ask(self) -> None:
        """Asks once; for the thread, and for tests, which need none."""
        # Read first, so that it is never of more steps than are shown beside it.
        evaluation = self._last_evaluation()
        answers = self._fetch(self._addresses())
        if not any(answers.values()):
            return
        self._tracker.add(time.monotonic(), answers)
        status = replace(self._tracker.status(), evaluation=evaluation)
        self._rounds_without_learner = 0 if status.updates is not None else self._rounds_without_learner + 1
        with self._lock:
            # At the end of a run the learner is gone a moment before anybody has noticed, and so are all its figures.
            if self._rounds_without_learner != 1:
                self._status = status
            if status.updates is not None:
                self._learner_answered_at = time.time()
                held = self._with_learner.verdict_since_start
                self._with_learner = replace(status, verdict_since_start=held) if self._drains else status

    def status_in(self, state: str) -> Status:
        """What to show of a run in this state: at its end the learner is not the last to leave."""
        with self._lock:
            running = state in ("starting", "running") or self._status.updates is not None
            return self._status if running else self._with_learner

    @property
    def last_with_learner(self) -> Status:
        """The last one for which the learner answered."""
        with self._lock:
            return self._with_learner

    @property
    def learner_answered_at(self) -> float:
        """When it did so last, by the clock; 0: it has not yet."""
        with self._lock:
            return self._learner_answered_at

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.ask()
            except Exception as error:  # or all figures would stand still without a word
                trouble = f"no new figures: {type(error).__name__}: {error}"
                if trouble != self._trouble:
                    self._report(trouble)
                self._trouble = trouble
            self._stop.wait(INTERVAL_SECONDS)
