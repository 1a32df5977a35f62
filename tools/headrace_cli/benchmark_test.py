"""Benchmarks: medians, ratios, and what is refused."""

import json
import sys
import tempfile
import unittest
from pathlib import Path

from headrace_cli.benchmark import Benchmark, Figure, Side, compare, load, measure, run, with_options
from headrace_cli.errors import CommandError


def figure(name: str, value: float, **more: float) -> dict[str, object]:
    return {"name": name, "value": value, "unit": "updates/s", **more}


class BenchmarkTest(unittest.TestCase):
    def test_the_ratio_is_of_medians(self) -> None:
        # Medians 200 and 80; the means would be 400 and 90.
        ours = [figure("sac", value) for value in (100, 200, 900)]
        theirs = [figure("sac", value) for value in (80, 60, 130)]
        self.assertEqual(compare(ours, theirs), [Figure("sac", 200, "updates/s", 80, 2.5)])

    def test_a_side_may_measure_its_own_reference(self) -> None:
        ours = [figure("insert", 3.0, reference=4.0)]
        self.assertEqual(compare(ours, []), [Figure("insert", 3, "updates/s", 4, 0.75)])

    def test_a_limit_of_its_own_and_another_side_make_two_figures(self) -> None:
        ours, theirs = [figure("sac", 200, reference=400)], [figure("sac", 100)]
        figures = compare(ours, theirs, "Stable-Baselines3")
        self.assertEqual([one.name for one in figures], ["sac", "sac vs Stable-Baselines3"])
        self.assertEqual([one.ratio for one in figures], [0.5, 2])

    def test_the_other_side_may_name_several_counterparts(self) -> None:
        theirs = [{**figure("sac", 50), "beside": "installed"}, {**figure("sac", 80), "beside": "tuned"}]
        figures = compare([figure("sac", 200, reference=400)], theirs, "unused")
        self.assertEqual([one.name for one in figures], ["sac", "sac vs installed", "sac vs tuned"])
        self.assertEqual([one.ratio for one in figures], [0.5, 4, 2.5])

    def test_a_figure_without_counterpart_has_no_ratio(self) -> None:
        (alone,) = compare([figure("sac", 1)], [figure("td3", 1)])
        self.assertIsNone(alone.reference)
        self.assertIsNone(alone.ratio)

    def test_a_value_may_be_missing_in_some_repeats_or_in_all(self) -> None:
        none = {**figure("queue", 1), "value": None}
        self.assertEqual(compare([none, figure("queue", 3)], [])[0].value, 3)
        (alone,) = compare([{**none, "reference": 2}], [])
        self.assertIsNone(alone.value)
        self.assertIsNone(alone.ratio)

    def test_notes_are_kept(self) -> None:
        (kept,) = compare([{**figure("queue", 1), "notes": {"lag": 2}}], [])
        self.assertEqual(kept.notes, {"lag": 2})

    def test_options_go_to_both_sides(self) -> None:
        given = with_options(Benchmark("b", "b", [], 1, Side("ours", ["a"]), Side("theirs", ["b"])), ["--seeds", "1"])
        assert given.reference is not None
        self.assertEqual([given.measured.command, given.reference.command], [["a", "--seeds", "1"], ["b", "--seeds", "1"]])

    def test_the_sides_are_run_in_turn(self) -> None:
        print_figure = f"print({json.dumps(json.dumps(figure('f', 2)))})"
        sides = [Side(name, [sys.executable, "-c", print_figure]) for name in ("ours", "theirs")]
        reports: list[str] = []
        figures, failure = run(Benchmark("b", "b", [], 2, *sides), 2, reports.append)
        self.assertIsNone(failure)
        self.assertEqual(reports, ["1/2 ours", "1/2 theirs", "2/2 ours", "2/2 theirs"])
        self.assertEqual(figures[0].ratio, 1)

    def test_a_side_that_fails_is_named_with_what_it_said(self) -> None:
        side = Side("ours", [sys.executable, "-c", "raise SystemExit('no such device')"])
        with self.assertRaisesRegex(CommandError, "(?s)ended with code 1.*no such device"):
            measure(side, [])

    def test_figures_that_were_there_before_a_failure_are_kept(self) -> None:
        lines = f"print({json.dumps(json.dumps(figure('f', 2)))}); print('{{cut off'); raise SystemExit('too little memory')"
        ours = Side("ours", [sys.executable, "-c", lines])
        figures, failure = run(Benchmark("b", "b", [], 2, ours, None), 2, lambda _: None)
        self.assertEqual([(one.name, one.value) for one in figures], [("f", 2)])
        self.assertIn("too little memory", str(failure))

    def test_a_side_that_is_not_there_comes_with_what_installs_it(self) -> None:
        ours = Side("ours", [sys.executable, "-c", "print()"])
        theirs = Side("theirs", [".venv-of-nobody/bin/python"], installed_by="tools/setup --nobody")
        reports: list[str] = []
        with self.assertRaisesRegex(CommandError, "venv-of-nobody.*cannot be run.*tools/setup --nobody installs it"):
            run(Benchmark("b", "b", [], 2, ours, theirs), 2, reports.append)
        self.assertEqual(reports, [], "nothing was measured before")

    def test_a_side_without_its_module_is_known_before_anything_is_measured(self) -> None:
        ours = Side("ours", [sys.executable, "-c", "print()"])
        theirs = Side("theirs", [sys.executable, "-c", "print()"], imports="no_such_module")
        reports: list[str] = []
        with self.assertRaisesRegex(CommandError, "no module no_such_module; tools/setup --test installs it"):
            run(Benchmark("b", "b", [], 2, ours, theirs), 2, reports.append)
        self.assertEqual(reports, [])

    def test_a_side_that_prints_nothing_is_refused(self) -> None:
        with self.assertRaisesRegex(CommandError, "printed no figure"):
            measure(Side("ours", [sys.executable, "-c", "print('hello')"]), [])

    def test_a_file_that_lacks_a_part_is_refused_by_name(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "broken.json"
            path.write_text('{"summary": "x", "targets": []}', encoding="utf-8")
            with self.assertRaisesRegex(CommandError, "broken.json.*measured"):
                load(path)


if __name__ == "__main__":
    unittest.main()
