"""A browser without a screen: Chromium, told what to do by its DevTools protocol.

    with Browser(profile) as browser:
        browser.open("http://127.0.0.1:9090/consoles/overview.html")
        browser.wait_until("document.querySelector('path')")
"""

import base64
import json
import os
import select
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

DEADLINE_SECONDS = 120.0  # that only a hang reaches


class Browser:
    """Not thread-safe. AssertionError: a page has thrown something, or does not answer."""

    def __init__(self, profile: Path) -> None:
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        arguments = [
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
            *(f"--user-data-dir={profile}", "--window-size=1400,1800", "--hide-scrollbars", "--remote-debugging-pipe"),
        ]
        # It reads from 3 and writes to 4: JSON, with a zero byte after each message.
        shell = f'exec chromium "$@" 3<&{commands} 4>&{answers}'
        self._process = subprocess.Popen(
            ["bash", "-c", shell, "bash", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(commands, answers),
        )
        os.close(commands)
        os.close(answers)
        self._received = b""
        self._last = 0
        self._session = ""
        page = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]

    def __enter__(self) -> "Browser":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._commands)  # at which it ends
        self._process.wait(timeout=DEADLINE_SECONDS)
        os.close(self._answers)

    def open(self, page: str) -> None:
        self._call("Page.navigate", url=page)
        self.wait_until(f"location.href === {json.dumps(page)} && document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """The value of JavaScript in the page."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait_until(self, expression: str) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not self.evaluate(f"Boolean({expression})"):
            if time.monotonic() > deadline:
                text = self.evaluate("document.documentElement.outerHTML")
                raise AssertionError(f"{expression} did not become true; the page is\n{text[-20000:]}")
            time.sleep(0.05)

    def picture(self) -> bytes:
        """What is to be seen, as PNG."""
        return base64.b64decode(self._call("Page.captureScreenshot")["data"])

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._last:
            pass  # an event
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._answers], [], [], DEADLINE_SECONDS)
            more = os.read(self._answers, 1 << 20) if ready else b""
            if not more:
                raise AssertionError("the browser has ended, or does not answer")
            self._received += more
        message, _, self._received = self._received.partition(b"\0")
        return json.loads(message)
