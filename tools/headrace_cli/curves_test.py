"""Learning curves: reading CSV files of a run, grouping seeds, intervals, and the picture."""

import math
import tempfile
import unittest
from pathlib import Path

import numpy as np

from headrace_cli.csv_tail import read_rows
from headrace_cli.curves import curve_of, experiment_of, load_groups
from headrace_cli.errors import UsageError
from headrace_cli.intervals import bootstrap_interval, on_common_grid
from headrace_cli.picture import draw

HEADER = "env_steps,wall_seconds,updates,mean_return,std_return,mean_length,episodes\n"


class CurvesTest(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.root = Path(temporary.name)

    def write_run(self, name: str, level: float = 0.0) -> Path:
        """A run with ten evaluations, and a training return."""
        directory = self.root / name
        directory.mkdir(parents=True)
        rows = [f"{step * 1000},{step},{step * 900},{level + 10 * step},5,200,10\n" for step in range(10)]
        (directory / "evaluations.csv").write_text(HEADER + "".join(rows), encoding="utf-8")
        progress = [f"{step * 500},{step / 2},{step * 450},{level + step}\n" for step in range(20)]
        text = "env_steps,wall_seconds,updates,rollout/ep_rew_mean\n" + "".join(progress)
        (directory / "progress.csv").write_text(text, encoding="utf-8")
        return directory

    def assert_is_png(self, path: Path) -> None:
        self.assertEqual(path.read_bytes()[:8], b"\x89PNG\r\n\x1a\n")
        self.assertGreater(path.stat().st_size, 10_000)

    def test_a_torn_last_line_is_left_out(self) -> None:
        path = self.root / "evaluations.csv"
        path.write_text(HEADER + "1000,1.5,900,-200,5,200,10\n2000,3.0,18", encoding="utf-8")
        rows = read_rows(path)
        self.assertEqual([row["env_steps"] for row in rows], [1000])

    def test_a_torn_line_in_the_middle_is_left_out(self) -> None:
        path = self.root / "evaluations.csv"
        path.write_text(HEADER + "1000,1.5\n2000,3.0,1800,-180,5,200,10\n", encoding="utf-8")
        self.assertEqual([row["env_steps"] for row in read_rows(path)], [2000])

    def test_an_empty_field_is_not_a_number(self) -> None:
        path = self.root / "progress.csv"
        path.write_text("env_steps,rollout/ep_rew_mean\n100,\n", encoding="utf-8")
        self.assertTrue(math.isnan(read_rows(path)[0]["rollout/ep_rew_mean"]))

    def test_a_file_that_is_not_there_has_no_rows(self) -> None:
        self.assertEqual(read_rows(self.root / "none.csv"), [])

    def test_steps_repeated_after_a_resume_count_once_and_the_later_line_holds(self) -> None:
        rows = [{"env_steps": step, "wall_seconds": 0.0, "r": value} for step, value in ((1, 1.0), (2, 2.0), (2, 5.0))]
        curve = curve_of(rows, "r")
        self.assertEqual(curve.returns.tolist(), [1.0, 5.0])

    def test_runs_that_differ_in_their_seed_are_one_group(self) -> None:
        self.assertEqual(experiment_of(Path("/runs/hopper/seed-3")), Path("/runs/hopper"))
        self.assertEqual(experiment_of(Path("/runs/hopper_sac-seed12")), Path("/runs/hopper_sac"))
        self.assertEqual(experiment_of(Path("/runs/demo-20260101")), Path("/runs/demo-20260101"))

    def test_labels_may_be_given(self) -> None:
        ours, theirs = self.write_run("a/seed-1"), self.write_run("b/seed-1")
        groups = load_groups([f"ours={ours}", f"theirs={theirs}"])
        self.assertEqual([group.label for group in groups], ["ours", "theirs"])

    def test_runs_are_found_in_directories_of_seeds_as_well(self) -> None:
        for name in ("all/alone-seed1", "all/several/seed-1", "all/several/seed-2"):
            self.write_run(name)
        groups = load_groups([str(self.root / "all")])
        self.assertEqual([(group.label, len(group.runs)) for group in groups], [("alone", 1), ("several", 2)])

    def test_experiments_of_the_same_name_in_two_places_are_two(self) -> None:
        for name in ("old/pend/seed-1", "new/pend/seed-1", "new/pend/seed-2", "new/hopper-seed1"):
            self.write_run(name)
        groups = load_groups([str(self.root / "old"), str(self.root / "new")])
        found = {group.label: len(group.runs) for group in groups}
        self.assertEqual(found, {"old/pend": 1, "new/pend": 2, "hopper": 1})

    def test_a_run_that_is_named_twice_counts_once(self) -> None:
        run = self.write_run("pend/seed-1")
        for arguments in ([str(run.parent), str(run)], [f"both={run},{run.parent}"]):
            (group,) = load_groups(arguments)
            self.assertEqual(len(group.runs), 1)

    def test_a_run_has_ended_that_its_launcher_or_its_learner_says_so_of(self) -> None:
        run = self.write_run("pend/seed-1")
        self.assertTrue(load_groups([str(run)])[0].runs[0].ended)  # only curves, as in docs/results
        (run / "config.textproto").touch()
        self.assertFalse(load_groups([str(run)])[0].runs[0].ended)
        (run / "result.json").touch()
        self.assertTrue(load_groups([str(run)])[0].runs[0].ended)

    def test_labels_and_directories_that_are_missing_are_said(self) -> None:
        run = self.write_run("a/seed-1")
        for argument in (f"={run}", "ours=", f"ours={run},"):
            with self.assertRaisesRegex(UsageError, "expected LABEL=DIR"):
                load_groups([argument])
        with self.assertRaisesRegex(UsageError, "several directories need a label"):
            load_groups([f"{run},{run}"])

    def test_a_directory_without_runs_is_refused(self) -> None:
        with self.assertRaisesRegex(UsageError, "is no run directory and has none in it"):
            load_groups([str(self.root)])

    def test_the_interval_of_one_seed_is_its_curve(self) -> None:
        interval = bootstrap_interval(np.array([[1.0, 2.0]]))
        self.assertEqual(interval.low.tolist(), [1.0, 2.0])
        self.assertEqual(interval.high.tolist(), [1.0, 2.0])

    def test_the_interval_of_two_seeds_spans_both(self) -> None:
        # Means of two draws from {0, 1}: 0 with probability 1/4, so that the 2.5% percentile is 0, and 1 likewise.
        interval = bootstrap_interval(np.array([[0.0], [1.0]]))
        self.assertEqual((interval.mean[0], interval.low[0], interval.high[0]), (0.5, 0.0, 1.0))

    def test_the_interval_of_many_seeds_is_that_of_the_normal_distribution(self) -> None:
        values = np.random.default_rng(1).normal(size=(400, 1))
        interval = bootstrap_interval(values)
        # 1.96 / sqrt(400) = 0.098 on either side; percentiles of 2000 resamples are known to a few percent.
        half = (interval.high[0] - interval.low[0]) / 2
        self.assertAlmostEqual(half, 0.098 * values.std(), delta=0.01)

    def test_curves_are_compared_from_where_all_seeds_have_begun_and_keep_their_last_values(self) -> None:
        long = (np.array([0.0, 10.0]), np.array([0.0, 10.0]), True)
        short = (np.array([2.0, 6.0]), np.array([1.0, 3.0]), True)
        grid, values = on_common_grid([long, short], points=5)
        self.assertEqual(grid.tolist(), [2, 4, 6, 8, 10])
        self.assertEqual(values[0].tolist(), [2, 4, 6, 8, 10])
        self.assertEqual(values[1].tolist(), [1, 2, 3, 3, 3])

    def test_the_mean_ends_where_the_first_does_that_goes_on(self) -> None:
        long = (np.array([0.0, 10.0]), np.array([0.0, 10.0]), True)
        short = (np.array([2.0, 6.0]), np.array([1.0, 3.0]), False)
        late = (np.array([8.0, 9.0]), np.array([1.0, 3.0]), True)
        self.assertEqual(on_common_grid([long, short], points=5)[0].tolist(), [2, 3, 4, 5, 6])
        self.assertEqual(on_common_grid([long, short, late], points=2)[0].tolist(), [8, 8])

    def test_runs_without_an_evaluator_are_drawn_by_their_training_return(self) -> None:
        for name in ("a/seed-1", "a/seed-2", "b/seed-1"):
            (self.write_run(name) / "evaluations.csv").write_text(HEADER, encoding="utf-8")
        output = self.root / "training.png"
        draw(load_groups([str(self.root / "a"), str(self.root / "b")]), output, "a, b")
        self.assert_is_png(output)
        self.assertGreater(output.stat().st_size, 30_000)  # axes without a line are half of that

    def test_one_run_is_drawn(self) -> None:
        output = self.root / "plots" / "one.png"
        draw(load_groups([str(self.write_run("pendulum-seed1"))]), output, "one")
        self.assert_is_png(output)

    def test_groups_of_seeds_are_drawn(self) -> None:
        for level, name in enumerate(("a/seed-1", "a/seed-2", "a/seed-3", "b/seed-1", "b/seed-2")):
            self.write_run(name, 20.0 * level)
        output = self.root / "groups.png"
        groups = load_groups([str(self.root / "a"), str(self.root / "b")])
        self.assertEqual([(group.label, len(group.runs)) for group in groups], [("a", 3), ("b", 2)])
        draw(groups, output, "a, b")
        self.assert_is_png(output)

    def test_a_run_without_results_is_refused(self) -> None:
        directory = self.root / "new"
        directory.mkdir()
        (directory / "config.textproto").touch()
        with self.assertRaisesRegex(UsageError, "nothing to draw yet"):
            draw(load_groups([str(directory)]), self.root / "none.png", "none")


if __name__ == "__main__":
    unittest.main()
