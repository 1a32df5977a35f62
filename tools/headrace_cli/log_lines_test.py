"""Errors that processes write to their logs, as the terminal gets them."""

import tempfile
import unittest
from pathlib import Path

from headrace_cli.log_lines import MOST_ERRORS, WITHIN_SECONDS, ErrorFollower, closing_error, without_prefix


def line(level: str, text: str) -> str:
    return f"2026-11-22 11:18:40.315 {level} replay-0] {text}\n"


class ErrorFollowerTest(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.log = Path(temporary.name) / "replay-0.log"

    def write(self, text: str) -> None:
        with self.log.open("a", encoding="utf-8") as log:
            log.write(text)

    def test_errors_are_read_once_and_nothing_else(self) -> None:
        follower = ErrorFollower(self.log)
        self.assertEqual(follower.new_errors(0), [])
        self.write("===== a start\n" + line("I", "ready") + line("W", "late") + line("E", "a] b"))
        self.assertEqual(follower.new_errors(0), ["a] b"])
        self.assertEqual(follower.new_errors(0), [])

    def test_what_was_there_before_is_of_an_earlier_run(self) -> None:
        self.write(line("E", "old"))
        follower = ErrorFollower(self.log)
        self.write(line("E", "new"))
        self.assertEqual(follower.new_errors(0), ["new"])

    def test_a_line_is_read_when_it_is_whole(self) -> None:
        follower = ErrorFollower(self.log)
        whole = line("E", "checkpoint 5 is not usable")
        self.write(whole[:40])
        self.assertEqual(follower.new_errors(0), [])
        self.write(whole[40:])
        self.assertEqual(follower.new_errors(0), ["checkpoint 5 is not usable"])

    def test_a_log_that_was_emptied_is_read_from_its_beginning(self) -> None:
        self.write(line("E", "old") * 3)
        follower = ErrorFollower(self.log)
        self.log.write_text(line("E", "new"), encoding="utf-8")
        self.assertEqual(follower.new_errors(0), ["new"])

    def test_of_too_many_errors_the_first_are_read_and_where_the_others_are(self) -> None:
        follower = ErrorFollower(self.log)
        self.write("".join(line("E", str(number)) for number in range(MOST_ERRORS + 2)))
        first = [str(number) for number in range(MOST_ERRORS)]
        self.assertEqual(follower.new_errors(0), [*first, f"... more in {self.log}"])
        self.write(line("E", "again"))
        self.assertEqual(follower.new_errors(WITHIN_SECONDS - 1), [])
        self.write(line("E", "later"))
        self.assertEqual(follower.new_errors(WITHIN_SECONDS), ["later"])


class LineTest(unittest.TestCase):
    def test_a_line_without_its_prefix_is_what_it_says(self) -> None:
        self.assertEqual(without_prefix(line("E", "DATA_LOSS: a.safetensors").strip()), "DATA_LOSS: a.safetensors")
        self.assertEqual(without_prefix("  seed: 1 in the run, 2 now"), "  seed: 1 in the run, 2 now")

    def test_the_reason_of_a_failure_is_the_error_at_the_end(self) -> None:
        self.assertEqual(closing_error(line("E", "early") + line("E", "late") + "of two lines\n"), "late")
        self.assertIsNone(closing_error(line("E", "early") + line("I", "mended")))
        self.assertIsNone(closing_error("no line of a log\n"))


if __name__ == "__main__":
    unittest.main()
