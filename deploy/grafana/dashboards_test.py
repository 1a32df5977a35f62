"""The dashboards are those of panels.py, and show metrics that exist."""

import json
import re
import subprocess
import unittest
from pathlib import Path

import generate
from panels import DASHBOARDS, Dashboard

# What the rules make, what Prometheus adds, and what it makes of histograms.
_RECORDED = re.compile(r"- record: (\S+)")
_SERIES = re.compile(r"\b(headrace[a-z_0-9:]+|process_[a-z_]+)")
_HISTOGRAM_SUFFIX = re.compile(r"_(bucket|sum|count)$")


def expressions(dashboard: Dashboard) -> list[str]:
    return [query.expression for panel in dashboard.panels for query in panel.queries]


class DashboardsTest(unittest.TestCase):
    def test_the_files_are_current(self) -> None:
        for path, text in generate.written().items():
            with self.subTest(path.name):
                self.assertEqual(path.read_text(encoding="utf-8"), text, "run python3 deploy/grafana/generate.py")

    def test_there_is_no_other_file(self) -> None:
        generated = {path.name for path in generate.written()}
        for directory in ("deploy/grafana/dashboards", "deploy/prometheus/consoles"):
            self.assertLessEqual({path.name for path in Path(directory).iterdir()}, generated)

    def test_what_is_shown_exists(self) -> None:
        reference = subprocess.run(["tools/metrics_reference"], stdout=subprocess.PIPE, text=True, check=True).stdout
        known = set(re.findall(r"^\| `(\w+)` \|", reference, re.MULTILINE))
        for rules in Path("deploy/prometheus/rules").iterdir():
            known |= set(_RECORDED.findall(rules.read_text(encoding="utf-8")))
        for dashboard in DASHBOARDS:
            for expression in expressions(dashboard):
                # Labels' values, such as the names of jobs, are no metrics.
                for name in _SERIES.findall(re.sub(r'"[^"]*"', "", expression)):
                    self.assertIn(_HISTOGRAM_SUFFIX.sub("", name), known, f"{dashboard.name}: {expression}")

    def test_grafana_takes_rates_over_four_of_the_longest_scrapes(self) -> None:
        # $__rate_interval is at least four times the datasource's timeInterval.
        source = Path("deploy/grafana/provisioning/datasources/headrace.yml").read_text(encoding="utf-8")
        (known,) = re.findall(r"timeInterval: (\d+)s", source)
        configurations = [path.read_text(encoding="utf-8") for path in Path("deploy/prometheus").glob("*.yml")]
        scraped = [int(found) for text in configurations for found in re.findall(r"scrape_interval: (\d+)s", text)]
        self.assertEqual(len(scraped), 2)
        self.assertEqual(int(known), max(scraped))

    def test_a_dashboard_shows_one_run_and_adds_up_no_others(self) -> None:
        for path, text in generate.written().items():
            if path.suffix == ".json":
                (run,) = (one for one in json.loads(text)["templating"]["list"] if one["name"] == "run")
                self.assertEqual((run["multi"], run["includeAll"]), (False, False), path)

    def test_panels_of_a_dashboard_do_not_overlap(self) -> None:
        for path, text in generate.written().items():
            if path.suffix != ".json":
                continue
            taken = set()
            for panel in json.loads(text)["panels"]:
                place = panel["gridPos"]
                for x in range(place["x"], place["x"] + place["w"]):
                    self.assertLess(x, generate.COLUMNS)
                    for y in range(place["y"], place["y"] + place["h"]):
                        self.assertNotIn((x, y), taken)
                        taken.add((x, y))


if __name__ == "__main__":
    unittest.main()
