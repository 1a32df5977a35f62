"""Lines of the logs of processes, such as "2026-11-22 11:18:40.315 E learner] text" (common/log.cc)."""

import re
from pathlib import Path

# Of one process in so many seconds so many errors are passed on: one that fails again and again must not fill the screen.
MOST_ERRORS = 5
WITHIN_SECONDS = 60.0

_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} ([IWE]) [^]]*\] (.*)")


def without_prefix(line: str) -> str:
    match = _LINE.fullmatch(line)
    return match[2] if match else line


def closing_error(lines: str) -> str | None:
    """What the last message says, or its first line, if it is an error: a process that fails says why at its end."""
    messages = [match for line in lines.splitlines() if (match := _LINE.fullmatch(line))]
    return messages[-1][2] if messages and messages[-1][1] == "E" else None


class ErrorFollower:
    """Reads the errors that are added to a log from now on. Not thread-safe."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._read = log.stat().st_size if log.exists() else 0  # bytes, up to the end of a line
        self._errors = 0  # since _counted_from
        self._counted_from = 0.0

    def new_errors(self, now: float) -> list[str]:
        """Those since the last call; the last of too many says where the others are. `now` is in seconds."""
        errors = []
        for line in self._new_lines():
            match = _LINE.fullmatch(line)
            if match is None or match[1] != "E":
                continue
            if now - self._counted_from >= WITHIN_SECONDS:
                self._errors, self._counted_from = 0, now
            self._errors += 1
            if self._errors <= MOST_ERRORS:
                errors.append(match[2])
            elif self._errors == MOST_ERRORS + 1:
                errors.append(f"... more in {self._log}")
        return errors

    def _new_lines(self) -> list[str]:
        """A line that is still being written is left for the next call."""
        size = self._log.stat().st_size if self._log.exists() else 0
        if size == self._read:
            return []
        if size < self._read:
            self._read = 0  # somebody has emptied it
        with self._log.open("rb") as log:
            log.seek(self._read)
            added = log.read()
        complete = added[: added.rfind(b"\n") + 1]
        self._read += len(complete)
        return complete.decode("utf-8", errors="replace").split("\n")
