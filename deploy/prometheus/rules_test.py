"""Configuration, rules and alerts are what Prometheus understands; each alert fires when it should, and only then."""

import json
import re
import tempfile
import unittest
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import yaml
from headrace_cli import workspace
from headrace_cli.metrics import parse
from headrace_cli.prometheus import RANGES, SCRAPE_INTERVAL
from headrace_cli.run_directory import RunDirectory, write_json
from headrace_cli.testing.verdict_recordings import Recording, page, recordings
from headrace_cli.status import Plan, StatusTracker
from headrace_cli.verdict import COMPONENTS, Verdict
from tool import promtool

DIRECTORY = Path("deploy/prometheus")
RULES = sorted(DIRECTORY.glob("rules/*.yml"))
ALERTS = (DIRECTORY / "rules" / "alerts.yml").read_text(encoding="utf-8")
CASES = (DIRECTORY / "tests" / "alerts.yml").read_text(encoding="utf-8")
RUNBOOK = Path("docs/runbook.md").read_text(encoding="utf-8")

# Seconds between the two moments of a recording; rates are over a minute.
INTERVAL = 30

# What the verdict is computed from.
LEARNER_SECONDS = [
    "headrace_learner_update_seconds_sum",
    "headrace_learner_publishing_seconds_total",
    "headrace_learner_housekeeping_seconds_total",
    *(f'headrace_learner_waiting_seconds_total{{what="{what}"}}' for what in ("actors", "items", "batch", "shards")),
]
ACTOR_SECONDS = [
    f"headrace_actor_{part}_seconds_total"
    for part in ("step", "policy", "record", "update", "inserts_blocked", "policy_wait")
]


class RulesTest(unittest.TestCase):
    def test_rules_are_valid(self) -> None:
        promtool(self, "check", "rules", *map(str, RULES))

    def test_configurations_are_valid(self) -> None:
        promtool(self, "check", "config", str(DIRECTORY / "prometheus.yml"))
        # Debian's Prometheus is built without the discovery of pods: everything but that is checked.
        text = (DIRECTORY / "prometheus-kubernetes.yml").read_text(encoding="utf-8")
        discovery = "    kubernetes_sd_configs:\n      - role: pod\n"
        self.assertIn(discovery, text)
        copy = DIRECTORY / "prometheus-without-discovery.yml"
        self.addCleanup(copy.unlink)
        copy.write_text(text.replace(discovery, ""), encoding="utf-8")
        promtool(self, "check", "config", str(copy))

    def test_rates_are_taken_over_four_scrapes_at_least_wherever_prometheus_runs(self) -> None:
        monitor = Path("deploy/kubernetes/components/service_monitor/service_monitor.yaml").read_text(encoding="utf-8")
        intervals = [seconds_of(text) for text in (SCRAPE_INTERVAL, *re.findall(r"\binterval: (\w+)", monitor))]
        for configuration in ("prometheus.yml", "prometheus-kubernetes.yml"):
            text = (DIRECTORY / configuration).read_text(encoding="utf-8")
            intervals += map(seconds_of, re.findall(r"scrape_interval: (\w+)", text))
        self.assertEqual(len(intervals), 4)
        for rules in RULES:
            for window in re.findall(r"\[(\w+)\]", rules.read_text(encoding="utf-8")):
                self.assertGreaterEqual(seconds_of(window), 4 * max(intervals), rules.name)

    def test_a_finished_run_is_shown_over_a_range_that_the_pages_offer(self) -> None:
        (library,) = (DIRECTORY / "console_libraries").iterdir()
        offered = re.findall(r'<option value="(\d+)"', library.read_text(encoding="utf-8"))
        self.assertEqual(tuple(map(int, offered)), RANGES)

    def test_it_finds_the_runs_of_the_demo_of_run_and_of_seeds(self) -> None:
        (pattern,) = re.findall(r"- files:\n\s+- (\S+)", (DIRECTORY / "prometheus.yml").read_text(encoding="utf-8"))
        with tempfile.TemporaryDirectory() as root, mock.patch.object(workspace, "RUNS", Path(root) / "runs"):
            runs = [
                RunDirectory(workspace.RUNS / name)
                for name in ("demo-20260102-030405", "pendulum_sac-seed1", "pendulum_sac/seed-1", "pendulum_sac/seed-2")
            ]
            elsewhere = RunDirectory(Path(root) / "elsewhere")
            for run in (*runs, elsewhere):
                run.create_and_lock()
                self.addCleanup(run.unlock)
                write_json(run.targets, [run.path.name])
                run.show_to_prometheus()
                run.show_to_prometheus()  # one that a killed launcher left is in nobody's way
            found = sorted(Path(root).joinpath(*Path(pattern).parts[2:-1]).glob(Path(pattern).name))
            self.assertEqual(Path(pattern).parts[:2], ("..", ".."))
            self.assertEqual({link.resolve() for link in found}, {run.targets.resolve() for run in runs})
            for run in runs:
                run.hide_from_prometheus()
            self.assertFalse([link for link in found if link.is_symlink()])

    def test_each_alert_fires_when_it_should(self) -> None:
        promtool(self, "test", "rules", str(DIRECTORY / "tests" / "alerts.yml"))

    def test_figures_are_right(self) -> None:
        promtool(self, "test", "rules", str(DIRECTORY / "tests" / "recording.yml"))

    def test_each_alert_has_a_case_and_a_section_in_the_runbook(self) -> None:
        alerts = re.findall(r"- alert: (\w+)", ALERTS)
        self.assertEqual(set(alerts), set(re.findall(r"alertname: (\w+)", CASES)))
        self.assertEqual(alerts, re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE))
        for case in yaml.safe_load(CASES)["tests"]:
            runs = set(re.findall(r'run="(\w+)"', json.dumps(case["input_series"]).replace("\\", "")))
            fires = {alert["exp_labels"]["run"] for moment in case["alert_rule_test"] for alert in moment["exp_alerts"]}
            self.assertTrue(fires, f"a case of {case['name']} in which it does not fire")
            self.assertTrue(runs - fires, f"a case of {case['name']} in which it fires for every run")
        anchors = re.findall(r"runbook: docs/runbook\.md#(\w+)", ALERTS)
        self.assertEqual([alert.lower() for alert in alerts], anchors)

    def test_links_in_the_runbook_lead_somewhere(self) -> None:
        for anchor in re.findall(r"\(#(\w+)\)", RUNBOOK):
            self.assertIn(anchor, [section.lower() for section in re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE)])


class VerdictRulesTest(unittest.TestCase):
    """rules/verdict.yml and headrace_cli/verdict.py say the same."""

    def test_of_recorded_and_of_random_runs_the_shares_are_those_of_the_launcher(self) -> None:
        runs = recordings() | random_recordings(300)
        shares, largest = [], []
        for run, recording in runs.items():
            found = verdict_of(recording)
            if found is not None:
                shares += [sample_of(run, found, component) for component in COMPONENTS]
                largest.append(sample_of(run, found, found.component))
        self.assertLess(len(largest), len(runs), "of some there is nothing to be said")
        said = "and on (run) headrace:limited_by:share"
        self.assert_rules_say(runs, {f"headrace:limit:share {said}": shares, "headrace:limited_by:share": largest})

    def assert_rules_say(self, runs: Mapping[str, Recording], expected: Mapping[str, list[dict[str, Any]]]) -> None:
        """By expression."""
        expressions = [
            {
                # Rounded, because the last digits differ. Of actors that do nothing the rules say nothing.
                "expr": f"round({expression}, 0.001) > 0",
                "eval_time": f"{INTERVAL}s",
                "exp_samples": [sample for sample in samples if sample["value"] > 0],
            }
            for expression, samples in expected.items()
        ]
        case = {
            "rule_files": [str(DIRECTORY.absolute() / "rules" / "verdict.yml")],
            "evaluation_interval": f"{INTERVAL}s",
            "tests": [
                {
                    "interval": f"{INTERVAL}s",
                    "input_series": [series for run, recording in runs.items() for series in series_of(run, recording)],
                    "promql_expr_test": expressions,
                }
            ],
        }
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
            json.dump(case, file)  # JSON is YAML
            file.flush()
            promtool(self, "test", "rules", file.name)


def seconds_of(duration: str) -> int:
    """Of Prometheus' way to write it, in one unit."""
    return int(duration[:-1]) * {"s": 1, "m": 60, "h": 3600}[duration[-1]]


def verdict_of(recording: Recording) -> Verdict | None:
    tracker = StatusTracker(Plan())
    for moment in (0, 1):
        tracker.add(moment * INTERVAL, {process: parse(page(recording, process, moment)) for process in recording})
    return tracker.status().verdict


def sample_of(run: str, found: Verdict, component: str) -> dict[str, Any]:
    """The share of a component as promtool expects it."""
    labels = ", ".join(
        f"{label}={json.dumps(value)}"
        for label, value in (("advice", found.advice[component]), ("component", component), ("run", run))
    )
    return {"labels": f"{{{labels}}}", "value": round(found.shares[component], 3)}


def random_recordings(count: int) -> dict[str, Recording]:
    """Of every topology and of none: many parts take no time at all, and in some runs no actor has answered."""
    random = Random(1)

    def seconds(names: list[str]) -> dict[str, list[float]]:
        return {name: [0.0, random.choice([0.0, random.uniform(2, 30)])] for name in names}

    runs: dict[str, Recording] = {}
    for number in range(count):
        learner = seconds(LEARNER_SECONDS)
        if random.random() < 0.3:
            learner["headrace_inference_requests_total"] = [0.0, 1.0]
        silent = random.random() < 0.1
        runs[f"random-{number}"] = {"learner": learner, **({} if silent else {"actor-0": seconds(ACTOR_SECONDS)})}
    return runs


def series_of(run: str, recording: Recording) -> list[dict[str, str]]:
    """The recorded series as Prometheus would have them after its scrapes."""
    series = []
    for process, values in recording.items():
        for name, (before, after) in values.items():
            metric, _, labels = name.partition("{")
            given = f'{{run="{run}", process="{process}"' + (f", {labels}" if labels else "}")
            # Counted from elsewhere: what began at zero just before the first scrape would be a longer time for rate().
            series.append({"series": metric + given, "values": f"{before + 1e6} {after + 1e6}"})
    return series


if __name__ == "__main__":
    unittest.main()
