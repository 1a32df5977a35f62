"""Counting results in Bazel's events."""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from test_summary import Event, count, read_events, skipped


def configured(label: str, test: bool = True) -> Event:
    return {"id": {"targetConfigured": {"label": label}}, "configured": {"testSize": "SMALL"} if test else {}}


def completed(label: str, success: bool) -> Event:
    return {"id": {"targetCompleted": {"label": label}}, "completed": {"success": True} if success else {}}


def summary(label: str, status: str) -> Event:
    return {"id": {"testSummary": {"label": label}}, "testSummary": {"overallStatus": status}}


class TestSummaryTest(unittest.TestCase):
    def test_passed_and_flaky_count_as_passed(self) -> None:
        events = [configured("//:a"), configured("//:b"), summary("//:a", "PASSED"), summary("//:b", "FLAKY")]
        self.assertEqual(count(events, 0), (2, 0))

    def test_failed_and_timed_out_count_as_failed(self) -> None:
        events = [configured("//:a"), configured("//:b"), summary("//:a", "FAILED"), summary("//:b", "TIMEOUT")]
        self.assertEqual(count(events, 3), (0, 2))

    def test_a_test_that_never_ran_counts_as_failed(self) -> None:
        self.assertEqual(count([configured("//:a"), configured("//:b"), summary("//:a", "PASSED")], 8), (1, 1))

    def test_a_target_that_could_not_be_built_counts_as_failed_once(self) -> None:
        events = [
            configured("//:a"),
            completed("//:a", False),
            configured("//:lib", test=False),
            completed("//:lib", False),
        ]
        self.assertEqual(count(events, 1), (0, 2))

    def test_something_failed_if_bazel_says_so(self) -> None:
        self.assertEqual(count([], 1), (0, 1))

    def test_what_skipped_some_of_its_tests_counts_as_failed_where_that_is_asked_for(self) -> None:
        events = [configured("//:a"), configured("//:b"), summary("//:a", "PASSED"), summary("//:b", "PASSED")]
        self.assertEqual(count(events, 0, {"//:b"}), (1, 1))

    def test_the_exit_code_says_whether_anything_failed(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            log = Path(directory) / "test.log"
            log.write_text("test_one ... skipped 'no kubectl'\n", encoding="utf-8")
            outputs = [{"name": "test.log", "uri": log.as_uri()}]
            result = {"id": {"testResult": {"label": "//:a"}}, "testResult": {"testActionOutput": outputs}}
            events = Path(directory) / "events"
            lines = (configured("//:a"), result, summary("//:a", "PASSED"))
            events.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
            for options, code, last in (([], 0, "1 passed, 0 failed"), (["--no_skips"], 1, "0 passed, 1 failed")):
                command = [sys.executable, "tools/test_summary.py", "--bazel_exit_code=0", *options, str(events)]
                printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
                self.assertEqual((printed.returncode, printed.stdout.splitlines()[-1]), (code, last))
                self.assertIn("  //:a: 1, no kubectl", printed.stdout)

    def test_what_was_skipped_is_said_with_its_reason(self) -> None:
        class Skipping(unittest.TestCase):
            def test_one(self) -> None:
                self.skipTest("there's no kubectl")

            test_another = test_one

            def test_a_third(self) -> None:
                pass

        with tempfile.TemporaryDirectory() as directory:
            log = Path(directory) / "test.log"
            with log.open("w", encoding="utf-8") as file:
                unittest.TextTestRunner(file, verbosity=2).run(unittest.defaultTestLoader.loadTestsFromTestCase(Skipping))
            outputs = [{"name": "test.log", "uri": log.as_uri()}, {"name": "test.xml", "uri": "bytestream://remote/x"}]
            result = {"id": {"testResult": {"label": "//:a"}}, "testResult": {"testActionOutput": outputs}}
            self.assertEqual(skipped([result, summary("//:a", "PASSED")]), {"//:a": {"there's no kubectl": 2}})

    def test_a_torn_file_is_read_up_to_the_tear(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "events"
            path.write_text(json.dumps(summary("//:a", "PASSED")) + '\n{"id": {"tes', encoding="utf-8")
            self.assertEqual(len(list(read_events(path))), 1)


if __name__ == "__main__":
    unittest.main()
