"""Every command of tools/ that is asked for help gives it, and does nothing else."""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

TOOLS = Path("tools").absolute()
COMMANDS = (
    "demo",
    "experiments/asynchronous_actors",
    "experiments/memory_growth",
    "experiments/operation_costs",
    "experiments/overview_picture",
    "experiments/policy_lag",
    "experiments/readme_figures",
    "experiments/temperature",
    "experiments/verdict_recordings",
    "format",
    "results",
    "setup",
    "test",
)


class HelpTest(unittest.TestCase):
    def test_help_is_the_opening_of_the_file_and_nothing_is_run(self) -> None:
        # An experiment once took --help for the directory of its runs and went on for ten minutes.
        for command in COMMANDS:
            with self.subTest(command), tempfile.TemporaryDirectory() as empty:
                opening = (TOOLS / command).read_text(encoding="utf-8").splitlines()[1].strip('#" ')
                interpreter = sys.executable if "python3" in (TOOLS / command).open().readline() else "bash"
                result = subprocess.run(
                    [interpreter, str(TOOLS / command), "--help"],
                    cwd=empty,
                    # Nothing that could be run is found, but for what prints the help.
                    env={"PATH": "/usr/bin:/bin", "HOME": empty},
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=60,
                )
                self.assertEqual(result.returncode, 0, result.stderr)
                self.assertIn(opening, result.stdout)
                self.assertEqual(result.stderr, "")
                self.assertEqual(os.listdir(empty), [])


if __name__ == "__main__":
    unittest.main()
