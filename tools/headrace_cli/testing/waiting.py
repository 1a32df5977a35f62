"""Waits in tests for what another process does."""

import time
from collections.abc import Callable

DEADLINE_SECONDS = 60.0


def wait_until(condition: Callable[[], bool], step: Callable[[], None] = lambda: None) -> None:
    """Calls `step` until the condition holds; fails the test if it does not within a generous time."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {DEADLINE_SECONDS:.0f} s")
        step()
        time.sleep(0.01)
