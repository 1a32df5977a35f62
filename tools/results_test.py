"""The table of results in README.md is made from the committed evaluations, and current."""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

RESULTS = Path("tools/results")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(RESULTS), *arguments], capture_output=True, text=True, check=False)


class ResultsTest(unittest.TestCase):
    def test_the_committed_table_is_current(self) -> None:
        result = run("--check", "--root", ".")
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_rows_are_made_from_the_last_evaluation_of_each_seed(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            (root / "README.md").write_text("a\n<!-- results: made by tools/results -->\n<!-- end of results -->\nb\n")
            self.make_runs(root / "runs")
            self.assertEqual(run("--root", name, "--add", "task", str(root / "runs")).returncode, 0)
            row = (root / "README.md").read_text().splitlines()[4]
            self.assertEqual(
                row,
                "| Cart-v0 | ppo, SYNCHRONOUS | 2 | 200 to 220 | 15 (4 episodes each) | 10 | 20 | 3 to 5 s "
                "| `tools/headrace run task.textproto --seeds 2` |",
            )
            self.assertEqual(run("--root", name, "--check").returncode, 0)
            metadata = json.loads((root / "docs/results/task/seed-1/metadata.json").read_text())
            self.assertEqual(metadata["revision"], "abc")
            evaluations = root / "docs/results/task/seed-1/evaluations.csv"
            evaluations.write_text(evaluations.read_text().replace("10,1,9,4", "11,1,9,4"))
            self.assertEqual(run("--root", name, "--check").returncode, 1)
            # A variant of the same configuration must not have its default directory, too.
            self.assertEqual(run("--root", name, "--add", "variant", str(root / "runs")).returncode, 0)
            command = "`tools/headrace run task.textproto --seeds 2 --dir runs/variant`"
            self.assertIn(command, (root / "README.md").read_text())

    def test_runs_of_no_known_revision_are_not_taken_over(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            self.make_runs(root / "runs")
            path = root / "runs" / "seed-2" / "metadata.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {"revision": "not known: built by hand"}))
            result = run("--root", name, "--add", "task", str(root / "runs"))
            self.assertNotEqual(result.returncode, 0)
            self.assertIn("seed-2: of which revision", result.stderr)
            self.assertFalse((root / "docs/results/task").exists())

    def test_seeds_that_were_typed_for_differently_have_commands_of_their_own(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            (root / "README.md").write_text("<!-- results: made by tools/results -->\n<!-- end of results -->\n")
            runs = root / "runs"
            self.make_runs(runs)
            for seed in (3, 4, 5):
                (runs / f"seed-{seed}").mkdir()
                for file in ("evaluations.csv", "config.textproto"):
                    (runs / f"seed-{seed}" / file).write_text((runs / "seed-1" / file).read_text())
                metadata = json.loads((runs / "seed-1/metadata.json").read_text()) | {"seed": seed}
                metadata["command_line"] = [f"tools/headrace run task.textproto --set seed={seed} --set a.threads=1"]
                (runs / f"seed-{seed}/metadata.json").write_text(json.dumps(metadata))
            self.assertEqual(run("--root", name, "--add", "task", str(runs)).returncode, 0)
            cell = (root / "README.md").read_text().splitlines()[3].strip("| ").split(" | ")[-1]
            self.assertEqual(
                cell,
                "seeds 1, 2: `tools/headrace run task.textproto --seeds 2`; "
                "seeds 3 to 5: `tools/headrace run task.textproto --set seed=S --set a.threads=1`",
            )

    def test_runs_of_another_system_are_compared(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            (root / "README.md").write_text("<!-- results: made by tools/results -->\n<!-- end of results -->\n")
            for task, returns in (("task", (10, 20, 30)), ("task_sb3", (6, 8, 10))):
                for seed, value in enumerate(returns):
                    run_directory = root / "docs/results" / task / f"seed-{seed}"
                    run_directory.mkdir(parents=True)
                    header = "env_steps,wall_seconds,updates,mean_return,std_return,mean_length,episodes"
                    (run_directory / "evaluations.csv").write_text(f"{header}\n100,5,50,{value},1,9,4\n")
                    system = ', "system": "Other 1"' if task.endswith("sb3") else ""
                    processor = "X" if task == "task" and seed == 0 else "Y"
                    (run_directory / "metadata.json").write_text(
                        f'{{"environment": "Cart-v0", "command": "c", "machine": {{"cpu": "{processor}"}}{system}}}'
                    )
            self.assertEqual(run("--root", name).returncode, 0)
            cells = (root / "README.md").read_text().splitlines()[-2].strip("| ").split(" | ")
            self.assertEqual(cells[:2], ["Cart-v0, Other 1", "+12"])
            # The means of three draws lie between 10 and 30, and between 6 and 10: 0.0014 of them at either end.
            low, high = (float(end) for end in cells[2].split(" to "))
            self.assertTrue(0 <= low < 12 < high <= 24, cells[2])
            self.assertEqual(cells[3:], ["+33%", "X and Y; Y"])

    def make_runs(self, runs: Path) -> None:
        for seed, last in ((1, "200,3,90,10,1,9,4"), (2, "220,5,90,20,1,9,4")):
            run_directory = runs / f"seed-{seed}"
            run_directory.mkdir(parents=True)
            header = "env_steps,wall_seconds,updates,mean_return,std_return,mean_length,episodes"
            (run_directory / "evaluations.csv").write_text(f"{header}\n100,1,50,-7,1,9,4\n{last}\n")
            (run_directory / "config.textproto").write_text(
                'seed: 1\ntopology: SYNCHRONOUS\nenvironment {\n  name: "Cart-v0"\n}\nstop {\n}\nppo {\n}\n'
            )
            (run_directory / "metadata.json").write_text(
                '{"command_line": ["/somewhere/tools/headrace run task.textproto --seeds 2 --dir /tmp/runs --no-build"],'
                f' "version": "1", "revision": "abc", "seed": {seed}, "machine": {{"cpu": "C", "cores": 2, "hostname": "h"}}}}'
            )


if __name__ == "__main__":
    unittest.main()
