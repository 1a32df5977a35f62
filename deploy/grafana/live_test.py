"""Real runs with a real Prometheus: their metrics are well formed, every panel has something to show, and a browser
draws the curves.
"""

import io
import json
import math
import re
import shlex
import shutil
import signal
import subprocess
import unittest
import urllib.request
from pathlib import Path

import matplotlib.image
import numpy as np
from browser import Browser
from headrace_cli.prometheus import query
from headrace_cli.verdict import ADVICE
from panels import DASHBOARDS, GRADIENTS, INFERENCE, POLICY_LAG, REPLAY, Dashboard
from run import Run, SystemTest, wait_until
from tool import promtool

CENTRAL_INFERENCE = Path("deploy/run/cartpole_ga3c.textproto").absolute()
QUEUE = Path("deploy/run/cartpole_impala.textproto").absolute()
ASYNCHRONOUS_GRADIENTS = Path("deploy/run/cartpole_a3c.textproto").absolute()
# Until it is told to end, with all that there is to show.
ENDLESS = (
    "stop.score=",
    "stop.env_steps=1000000000",
    "checkpoint.interval_seconds=1",
    "evaluation.interval_steps=2000",
    "evaluation.episodes=5",
    "learner.log_interval_seconds=0.2",
)
# Of the first curve of a panel, deploy/prometheus/console_libraries/headrace.lib.
BLUE = np.array([0x2F, 0x6F, 0xDE]) / 255


class LiveTest(SystemTest):
    def setUp(self) -> None:
        super().setUp()
        for program in ("prometheus", "chromium"):
            if shutil.which(program) is None:
                self.fail(f"{program} is not installed: `tools/setup --test` installs it")

    def test_a_run_can_be_watched(self) -> None:
        run, address = self.start(CENTRAL_INFERENCE)
        for process in run.processes():
            self.assert_metrics_are_well_formed(run, process)
        dashboards = [dashboard for dashboard in DASHBOARDS if dashboard is not GRADIENTS]
        self.wait_for_values(run, address, dashboards)
        self.assert_nobody_is_alarmed(run, address)
        with Browser(self.root / "browser") as browser:
            for dashboard in dashboards:
                self.assert_browser_draws(browser, address, dashboard)
            self.assert_browser_says(browser, address, GRADIENTS)
            self.assert_advice_is_shown_as_a_whole(browser, address)
            self.assert_rows_without_some_labels_are_shown_as_a_whole(browser, address)
            self.assert_names_of_alerts_are_words(browser, address)
            self.assert_late_answers_replace_no_newer_ones(browser, address)
            self.assert_what_was_chosen_goes_from_page_to_page(browser, address)

        run.signal(signal.SIGINT)
        code, output = run.wait()
        self.assertEqual(code, 130, output)
        self.assertRegex(output, r"limits? the run: ")
        with self.assertRaises(OSError):  # it has ended with the run
            query(address, "up")

    def test_a_run_whose_actors_learn_by_themselves_can_be_watched(self) -> None:
        run, address = self.start(ASYNCHRONOUS_GRADIENTS)
        # The lag was once of subscribers alone, of which there are none here, nor with central inference.
        for process in run.processes():
            self.assert_metrics_are_well_formed(run, process)
        self.wait_for_values(run, address, [GRADIENTS, Dashboard("lag", "Lag", [POLICY_LAG])])
        with Browser(self.root / "browser") as browser:
            self.assert_browser_draws(browser, address, GRADIENTS)
            for dashboard in (REPLAY, INFERENCE):
                self.assert_browser_says(browser, address, dashboard)

    def test_a_run_of_seconds_can_be_looked_at_afterwards(self) -> None:
        run = Run(self, "stop.score=", "stop.wall_seconds=3", config=QUEUE)
        code, output = run.to_end("--prometheus")
        self.assertEqual(code, 0, output)
        found = re.search(r"this shows again what Prometheus has seen: (.*)", output)
        assert found is not None
        again = subprocess.Popen(shlex.split(found[1]), stderr=subprocess.DEVNULL)
        self.addCleanup(again.wait)
        self.addCleanup(again.terminate)
        address = re.search(r"--web.listen-address=(\S+)", found[1])
        assert address is not None

        def seen() -> list[str]:
            try:
                samples = query(address[1], "max_over_time(up[1h]) == 1")
            except OSError:  # it does not serve yet
                return []
            return sorted(sample["metric"]["process"] for sample in samples)

        wait_until(lambda: seen() == sorted(run.processes()), "every process has been seen")
        # The page that the run has named shows a moment at which there was something to be seen.
        shown = re.search(r"&end=([0-9.]+)", output)
        assert shown is not None
        for metric in ('up{process="learner"}', "headrace_learner_training_return", "headrace_learner_updates_total"):
            self.assertEqual(len(query(address[1], f"{metric} @ {shown[1]} > 0")), 1, metric)

    def test_a_run_that_is_resumed_goes_on_in_the_same_curves(self) -> None:
        """Its processes have other ports then. Their former ones once counted as processes that do not answer."""
        run, _ = self.start(QUEUE)
        run.signal(signal.SIGINT)
        run.wait()
        before = len(run.evaluations())
        run, address = self.start(QUEUE)
        run.wait_until(lambda: len(run.evaluations()) > before + 1, "the run goes on")
        count = len(run.processes())
        run.wait_until(lambda: len(query(address, "up == 1")) == count, "all processes answer Prometheus")
        self.assertEqual(len(query(address, "up")), count)
        # It is a run's own once it has had an episode in this life.
        returns = lambda: len(query(address, "headrace_learner_training_return"))
        run.wait_until(lambda: returns() == 1, "there is one return")

    def start(self, config: Path) -> tuple[Run, str]:
        """The run, and where its Prometheus is."""
        run = Run(self, *ENDLESS, config=config)
        run.start("--prometheus")
        run.wait_until(lambda: "Prometheus shows the run at" in run.output(), "Prometheus serves")
        found = re.search(r"http://(\S+)/consoles/overview\.html", run.output())
        assert found is not None
        run.wait_until(lambda: len(run.evaluations()) >= 2 and bool(run.checkpoints()), "there is something to show")
        # The others may have come so far without one.
        run.wait_until(lambda: all("ready: " in run.log(process) for process in run.processes()), "every process serves")
        return run, found[1]

    def wait_for_values(self, run: Run, address: str, dashboards: list[Dashboard]) -> None:
        for dashboard in dashboards:
            for panel in dashboard.panels:
                for one in panel.queries:
                    with self.subTest(dashboard=dashboard.name, panel=panel.title, query=one.legend):
                        expression = one.expression.replace("WINDOW", "10s").replace("RUN", "run")
                        self.wait_for_value(run, address, expression)

    def wait_for_value(self, run: Run, address: str, expression: str) -> None:
        def has_value() -> bool:
            return any(math.isfinite(float(sample["value"][1])) for sample in query(address, expression))

        run.wait_until(has_value, f"{expression} has a value")

    def assert_nobody_is_alarmed(self, run: Run, address: str) -> None:
        """All goes well. What an alert waits for may have been true for a moment, and that data are waited for is none."""

        def alarmed() -> list[str]:
            with urllib.request.urlopen(f"http://{address}/api/v1/rules?type=alert", timeout=10) as answer:
                groups = json.loads(answer.read())["data"]["groups"]
            rules = [rule for group in groups for rule in group["rules"] if rule["labels"]["severity"] != "info"]
            self.assertGreater(len(rules), 10)
            return [rule["name"] for rule in rules if (rule["health"], rule["state"]) != ("ok", "inactive")]

        run.wait_until(lambda: not alarmed(), "no alert is active")
        self.assertEqual(query(address, 'max_over_time(ALERTS{alertstate="firing",severity!="info"}[1h])'), [])

    def assert_metrics_are_well_formed(self, run: Run, process: str) -> None:
        address = run.processes()[process]["addresses"]["metrics"]
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            promtool(self, "check", "metrics", given=answer.read().decode())

    def assert_browser_draws(self, browser: Browser, address: str, dashboard: Dashboard) -> None:
        browser.open(f"http://{address}/consoles/{dashboard.name}.html")
        browser.wait_until("document.querySelectorAll('path.curve[d*=L]').length >= 5")
        self.assertEqual(browser.evaluate("document.getElementById('trouble').textContent"), "")
        self.assertFalse(browser.evaluate("Boolean(document.getElementById('without').offsetParent)"))
        pixels = matplotlib.image.imread(io.BytesIO(browser.picture()))[:, :, :3]
        blue = np.abs(pixels - BLUE).max(axis=2) < 0.1
        self.assertGreater(int(blue.sum()), 500, f"{dashboard.name}: no curve is to be seen")

    def assert_browser_says(self, browser: Browser, address: str, dashboard: Dashboard) -> None:
        """One sentence in place of curves of nothing."""
        browser.open(f"http://{address}/consoles/{dashboard.name}.html?still=")
        browser.wait_until("document.getElementById('without').offsetParent")
        self.assertEqual(browser.evaluate("document.getElementById('without').textContent"), dashboard.without)
        self.assertFalse(browser.evaluate("Boolean(document.querySelector('main').offsetParent)"))

    def assert_advice_is_shown_as_a_whole(self, browser: Browser, address: str) -> None:
        """One that has a colon ended there."""
        browser.open(f"http://{address}/consoles/overview.html?still=")
        self.assertTrue(any(": " in advice for advice in ADVICE.values()))
        for advice in ADVICE.values():
            legend = json.dumps(f"broadcast: {advice}")
            self.assertEqual(browser.evaluate(f"headingAndText({legend})[1]"), advice)

    def assert_rows_without_some_labels_are_shown_as_a_whole(self, browser: Browser, address: str) -> None:
        browser.open(f"http://{address}/consoles/overview.html?still=")
        query = json.dumps({"legend": "[alertname]: [process] [reason]"})
        for labels, heading, text in [
            ({"alertname": "nothing"}, "nothing", ""),
            ({"alertname": "HeadraceX", "process": "replay-0"}, "HeadraceX", "replay-0"),
            ({"alertname": "HeadraceX", "process": "replay-0", "reason": "size"}, "HeadraceX", "replay-0 size"),
        ]:
            shown = browser.evaluate(f"headingAndText(legendOf({query}, {json.dumps(labels)}))")
            self.assertEqual(shown, [heading, text])

    def assert_names_of_alerts_are_words(self, browser: Browser, address: str) -> None:
        """One long name was broken wherever its tile ended."""
        browser.open(f"http://{address}/consoles/overview.html?still=")
        self.assertEqual(browser.evaluate("spaced('HeadraceLossNotANumber')"), "Loss not a number")
        for component in ADVICE:
            self.assertEqual(browser.evaluate(f"spaced('{component}')"), component)

    def assert_late_answers_replace_no_newer_ones(self, browser: Browser, address: str) -> None:
        """Those of ten minutes, which Prometheus keeps back until two minutes were asked for and drawn."""
        browser.open(f"http://{address}/consoles/overview.html?still=")
        browser.wait_until("document.querySelector('path.curve')")
        unchanged = """(async () => {
            const range = document.getElementById("range"), main = document.querySelector("main"), answered = ask;
            let release;
            const released = new Promise((resolve) => { release = resolve; });
            ask = async (...question) => { await released; return answered(...question); };
            range.value = "600";
            const late = refresh();
            ask = answered;
            range.value = "120";
            await refresh();
            const before = main.innerHTML;
            release();
            await late;
            return main.innerHTML === before;
        })()"""
        self.assertTrue(browser.evaluate(unchanged))

    def assert_what_was_chosen_goes_from_page_to_page(self, browser: Browser, address: str) -> None:
        browser.open(f"http://{address}/consoles/overview.html?still=")
        browser.wait_until("document.querySelector('path.curve')")
        # It was drawn with rates of as many scrapes as this Prometheus makes in a window.
        self.assertEqual(browser.evaluate("scrapeSeconds"), 1)
        for name, value in {"range": "3600", "end": "2001-02-03T04:05:06"}.items():
            control = f"document.getElementById('{name}')"
            browser.evaluate(f"{control}.value = '{value}'; {control}.dispatchEvent(new Event('change'))")
        browser.wait_until("document.getElementById('trouble').textContent === 'no run has been seen in this time'")
        browser.evaluate("[...document.querySelectorAll('nav a')].find((a) => a.textContent === 'Replay').click()")
        browser.wait_until("location.pathname.endsWith('/replay.html') && document.readyState === 'complete'")
        browser.wait_until("document.getElementById('trouble').textContent === 'no run has been seen in this time'")
        self.assertEqual(browser.evaluate("document.getElementById('range').value"), "3600")
        self.assertEqual(browser.evaluate("document.getElementById('end').value"), "2001-02-03T04:05:06")


if __name__ == "__main__":
    unittest.main()
