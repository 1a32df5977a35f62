"""Counts what passed and what failed in the events that `bazel test --build_event_json_file=FILE` wrote.

A test that could not be built, did not finish or was never started counts as failed, and so does any other target that
could not be built. The last line printed is `N passed, N failed`; before it stands which targets have skipped some of their
tests, and why. With --no_skips they count as failed. The exit code is 1 if anything failed.
"""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

Event = dict[str, Any]

# As unittest says it of each test, third_party/venv_py_test.bzl.
_SKIPPED = re.compile(r"""\bskipped (['"])(.*)\1$""", re.MULTILINE)


def read_events(path: Path) -> Iterator[Event]:
    """The events of the file; a torn last line, as a killed Bazel leaves it, is skipped."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                return


def count(events: Iterable[Event], bazel_exit_code: int, incomplete: Collection[str] = ()) -> tuple[int, int]:
    """How many targets (passed, failed); at least one failed if Bazel said so, and each of `incomplete` did."""
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
    failed |= (tests - passed) | set(incomplete)
    passed -= failed
    return len(passed), max(len(failed), 1 if bazel_exit_code != 0 else 0)


def skipped(events: Iterable[Event]) -> dict[str, Counter[str]]:
    """By target, for which reasons it has skipped how many of its tests."""
    reasons: dict[str, Counter[str]] = {}
    for event in events:
        if "testResult" not in event.get("id", {}):
            continue
        for output in event.get("testResult", {}).get("testActionOutput", []):
            path = Path(unquote(urlsplit(output.get("uri", "")).path))
            if output.get("name") == "test.log" and path.is_file():
                log = path.read_text(encoding="utf-8", errors="replace")
                found = Counter(match[2] for match in _SKIPPED.finditer(log))
                if found:
                    reasons[event["id"]["testResult"]["label"]] = found
    return reasons


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bazel_exit_code", type=int, required=True)
    parser.add_argument("--no_skips", action="store_true")
    parser.add_argument("events", type=Path)
    arguments = parser.parse_args()
    events = list(read_events(arguments.events))
    skips = skipped(events)
    if skips:
        print(f"{len(skips)} targets skipped some of their tests{', which is a failure here' if arguments.no_skips else ''}:")
    for label, reasons in sorted(skips.items()):
        for reason, tests in reasons.items():
            print(f"  {label}: {tests}, {reason}")
    passed, failed = count(events, arguments.bazel_exit_code, skips if arguments.no_skips else ())
    print(f"{passed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
