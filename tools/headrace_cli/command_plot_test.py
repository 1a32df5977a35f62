"""tools/headrace plot: where the picture goes, and what is said of it."""

import contextlib
import io
import os
import tempfile
import unittest
from pathlib import Path

from headrace_cli.main import main

EVALUATIONS = """env_steps,wall_seconds,updates,mean_return,std_return,mean_length,episodes
500,1,250,-900,50,200,10
1000,2,500,-200,30,200,10
"""


class CommandPlotTest(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.addCleanup(os.chdir, Path.cwd())
        os.chdir(temporary.name)
        self.root = Path.cwd()
        for run in ("pendulum", "hopper/seed-1", "hopper/seed-2"):
            Path(run).mkdir(parents=True)
            (Path(run) / "evaluations.csv").write_text(EVALUATIONS, encoding="utf-8")

    def plot(self, *arguments: str) -> Path:
        """Where the command says that the picture is."""
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            self.assertEqual(main(["plot", *arguments]), 0)
        picture = Path(output.getvalue().rstrip("\n"))
        self.assertTrue(picture.is_file())
        return picture

    def test_the_picture_of_a_run_lies_in_its_directory(self) -> None:
        self.assertEqual(self.plot("pendulum"), self.root / "pendulum" / "plots" / "learning_curve.png")

    def test_the_picture_of_seeds_lies_in_their_directory(self) -> None:
        self.assertEqual(self.plot("hopper"), self.root / "hopper" / "learning_curve.png")

    def test_the_picture_of_several_lies_here(self) -> None:
        self.assertEqual(self.plot("pendulum", "hopper"), self.root / "learning_curves.png")
        self.assertEqual(self.plot("theirs=hopper"), self.root / "learning_curves.png")

    def test_an_output_that_is_named_is_used(self) -> None:
        self.assertEqual(self.plot("pendulum", "--output", "mine.png"), self.root / "mine.png")

    def test_against_one_thing_alone_the_picture_is_narrower(self) -> None:
        def width(*arguments: str) -> int:  # of a PNG, which has it in its first chunk
            return int.from_bytes(self.plot("pendulum", *arguments).read_bytes()[16:20], "big")

        self.assertLess(width("--against", "steps"), width())
        self.assertEqual(width("--against", "steps"), width("--against", "time"))

    def test_what_cannot_be_drawn_or_written_is_one_sentence(self) -> None:
        Path("empty").mkdir()
        Path("odd/evaluations.csv").mkdir(parents=True)
        for arguments, sentence in {
            ("pendulum", "--output", "x.gif"): "x.gif: expected a file name that ends in .png or .svg or .pdf",
            ("pendulum", "--output", "pendulum/evaluations.csv/x.png"): "x.png cannot be written: pendulum/evaluations.csv",
            ("empty",): "empty is no run directory and has none in it",
            ("odd",): "odd/evaluations.csv: Is a directory",
        }.items():
            with self.subTest(arguments):
                told = io.StringIO()
                with contextlib.redirect_stderr(told):
                    self.assertEqual(main(["plot", *arguments]), 2)
                self.assertRegex(told.getvalue(), r"^headrace plot: .*\n$")
                self.assertIn(sentence, told.getvalue())


if __name__ == "__main__":
    unittest.main()
