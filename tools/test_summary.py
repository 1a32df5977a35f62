"""Counts what passed and what failed in the events that `bazel test --build_event_json_file=FILE` wrote.

A test that could not be built, did not finish or was never started counts as failed, and so does any other target that
could not be built. The only line printed is `N passed, N failed`.
"""

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Event = dict[str, Any]


def read_events(path: Path) -> Iterator[Event]:
    """The events of the file; a torn last line, as a killed Bazel leaves it, is skipped."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                return


def count(events: Iterable[Event], bazel_exit_code: int) -> tuple[int, int]:
    """How many targets (passed, failed); at least one failed if Bazel said so."""
    tests: set[str] = set()
    passed: set[str] = set()
    failed: set[str] = set()
    for event in events:
        kind = event.get("id", {})
        if "targetConfigured" in kind and event.get("configured", {}).get("testSize"):
            tests.add(kind["targetConfigured"]["label"])
        elif "testSummary" in kind:
            status = event.get("testSummary", {}).get("overallStatus")
            (passed if status in ("PASSED", "FLAKY") else failed).add(kind["testSummary"]["label"])
        elif "targetCompleted" in kind and not event.get("completed", {}).get("success"):
            failed.add(kind["targetCompleted"]["label"])
    failed |= tests - passed
    passed -= failed
    return len(passed), max(len(failed), 1 if bazel_exit_code != 0 else 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bazel_exit_code", type=int, required=True)
    parser.add_argument("events", type=Path)
    arguments = parser.parse_args()
    passed, failed = count(read_events(arguments.events), arguments.bazel_exit_code)
    print(f"{passed} passed, {failed} failed", flush=True)


if __name__ == "__main__":
    main()
