"""Standard output that may go away while a run goes on: the terminal is closed, a reader leaves, the disk is full."""

import os
import sys
from typing import TextIO

from rich.console import Console

_WIDTH_OF_FILES = 160  # where no terminal says how much it has room for: tables then need no line breaks


def plain_console(file: TextIO | None = None) -> Console:
    """A console that shows text as it is: brackets in a log line or a path are no markup. Default: standard output."""
    console = Console(file=file, markup=False, emoji=False, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDTH_OF_FILES
    return console


def lasting_console() -> Console:
    """A console on standard output. What cannot be written is dropped; whoever prints never learns of it."""
    return plain_console(_LastingOutput(sys.stdout))  # type: ignore[arg-type]


class _LastingOutput:
    """Hands everything on until the first failure."""

    def __init__(self, stream: TextIO | None) -> None:
        """`stream`: None if the process was started without one."""
        self._stream = stream

    @property
    def encoding(self) -> str:
        return self._stream.encoding if self._stream else "utf-8"

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        if self._stream is None:
            raise OSError("there is no standard output")
        return self._stream.fileno()

    def write(self, text: str) -> int:
        if self._stream is not None:
            try:
                self._stream.write(text)
            except (OSError, ValueError):  # ValueError: the encoding has no such character
                self._give_up(self._stream)
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            try:
                self._stream.flush()
            except OSError:
                self._give_up(self._stream)

    def _give_up(self, stream: TextIO) -> None:
        """What is left in the stream's buffer goes nowhere, instead of failing again when the process exits."""
        self._stream = None
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
