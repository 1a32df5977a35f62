"""A real run with a real Prometheus: its metrics are well formed, every panel has something to show, and a browser
draws the curves.
"""

import re
import shutil
import signal
import subprocess
import unittest
import urllib.request
from pathlib import Path

import matplotlib.image
import numpy as np
from headrace_cli.prometheus import query
from panels import DASHBOARDS
from run import Run, SystemTest
from tool import promtool

CONFIGURATION = Path("deploy/run/cartpole_ga3c.textproto").absolute()
# Until it is told to end, with all that there is to show: central inference has a dashboard of its own.
ENDLESS = (
    "stop.score=",
    "stop.env_steps=1000000000",
    "checkpoint.interval_seconds=1",
    "evaluation.interval_steps=2000",
    "evaluation.episodes=5",
    "learner.log_interval_seconds=0.2",
)
BROWSER_SECONDS = 120  # that only a hang reaches
# Of the first curve of a panel, deploy/prometheus/console_libraries/headrace.lib.
BLUE = np.array([0x2F, 0x6F, 0xDE]) / 255


class LiveTest(SystemTest):
    def setUp(self) -> None:
        super().setUp()
        for program in ("prometheus", "chromium"):
            if shutil.which(program) is None:
                self.fail(f"{program} is not installed: `tools/setup --test` installs it")

    def test_a_run_can_be_watched(self) -> None:
        run = Run(self, *ENDLESS, config=CONFIGURATION)
        run.start("--prometheus")
        run.wait_until(lambda: "Prometheus shows the run at" in run.output(), "Prometheus serves")
        found = re.search(r"http://(\S+)/consoles/overview\.html", run.output())
        assert found is not None
        address = found[1]
        run.wait_until(lambda: len(run.evaluations()) >= 2 and bool(run.checkpoints()), "there is something to show")

        for process in run.processes():
            self.assert_metrics_are_well_formed(run, process)
        for dashboard in DASHBOARDS:
            for panel in dashboard.panels:
                for one in panel.queries:
                    with self.subTest(dashboard=dashboard.name, panel=panel.title, query=one.legend):
                        expression = one.expression.replace("WINDOW", "10s").replace("RUN", "run")
                        self.wait_for_value(run, address, expression)
        for dashboard in DASHBOARDS:
            self.assert_browser_draws(f"http://{address}/consoles/{dashboard.name}.html", dashboard.name)

        run.signal(signal.SIGINT)
        code, output = run.wait()
        self.assertEqual(code, 130, output)
        self.assertRegex(output, r"limits? the run: ")
        with self.assertRaises(OSError):  # it has ended with the run
            query(address, "up")

    def wait_for_value(self, run: Run, address: str, expression: str) -> None:
        run.wait_until(lambda: bool(query(address, expression)), f"{expression} has a value")

    def assert_metrics_are_well_formed(self, run: Run, process: str) -> None:
        address = run.processes()[process]["addresses"]["metrics"]
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            promtool(self, "check", "metrics", given=answer.read().decode())

    def assert_browser_draws(self, page: str, name: str) -> None:
        document = self.browse(page, "--dump-dom")
        self.assertIn('<span id="trouble"></span>', document)
        curves = re.findall(r'<path class="curve"[^>]* d="(M[^"]+L[^"]+)"', document)
        self.assertGreaterEqual(len(curves), 5, f"{page} has drawn {len(curves)} curves:\n{document[-20000:]}")
        picture = self.root / f"{name}.png"
        self.browse(page, "--hide-scrollbars", f"--screenshot={picture}")
        pixels = matplotlib.image.imread(picture)[:, :, :3]
        blue = np.abs(pixels - BLUE).max(axis=2) < 0.1
        self.assertGreater(int(blue.sum()), 500, f"{page}: no curve is to be seen")

    def browse(self, page: str, *arguments: str) -> str:
        """Opens the page without a screen, and gives its script time to ask and to draw."""
        command = [
            *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
            *(f"--user-data-dir={self.root / 'browser'}", "--window-size=1400,1800", "--virtual-time-budget=5000"),
            *arguments,
            f"{page}?still",
        ]
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=BROWSER_SECONDS
        )
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout


if __name__ == "__main__":
    unittest.main()
