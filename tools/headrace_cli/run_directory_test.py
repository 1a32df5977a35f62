"""Which checkpoint of a run is meant, and the files that others read while they are written."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

from headrace_cli.errors import UsageError
from headrace_cli.run_directory import (
    RunDirectory,
    check_has_networks,
    open_run,
    read_json,
    read_object,
    started_at,
    write_json,
)


class RunDirectoryTest(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.run_directory = RunDirectory(Path(temporary.name) / "run")
        self.addCleanup(self.run_directory.unlock)
        self.run_directory.create_and_lock()

    def add_checkpoint(self, name: str, complete: bool = True) -> Path:
        checkpoint = self.run_directory.checkpoints / name
        checkpoint.mkdir()
        if complete:
            (checkpoint / "MANIFEST.textproto").touch()
        return checkpoint

    def test_the_latest_checkpoint_is_that_of_the_most_updates(self) -> None:
        self.add_checkpoint("update-000000000900")
        newest = self.add_checkpoint("update-000000010000")
        self.assertEqual(self.run_directory.checkpoint("latest"), newest)

    def test_a_checkpoint_without_manifest_does_not_exist(self) -> None:
        complete = self.add_checkpoint("update-000000000900")
        self.add_checkpoint("update-000000010000", complete=False)
        self.assertEqual(self.run_directory.checkpoint("latest"), complete)

    def test_a_checkpoint_is_found_by_its_updates(self) -> None:
        checkpoint = self.add_checkpoint("update-000000000900")
        self.assertEqual(self.run_directory.checkpoint("900"), checkpoint)
        self.assertEqual(self.run_directory.checkpoint(checkpoint.name), checkpoint)

    def test_a_missing_checkpoint_is_refused_with_those_that_there_are(self) -> None:
        self.add_checkpoint("update-000000000900")
        self.add_checkpoint("replay-0")
        with self.assertRaisesRegex(UsageError, "no checkpoint '7'; it has latest, 900$"):
            self.run_directory.checkpoint("7")

    def test_the_best_checkpoint_needs_an_evaluation(self) -> None:
        with self.assertRaisesRegex(UsageError, "no evaluation has been finished"):
            self.run_directory.checkpoint("best")
        best = self.add_checkpoint("best")
        self.assertEqual(self.run_directory.checkpoint("best"), best)

    def test_a_run_starts_from_another_run_or_from_one_of_its_checkpoints(self) -> None:
        self.run_directory.config.touch()
        checkpoint = self.add_checkpoint("update-000000000900")
        (checkpoint / "algorithm.safetensors").touch()
        check_has_networks(self.run_directory.path)
        check_has_networks(checkpoint)

    def test_a_run_cannot_start_from_what_has_no_networks(self) -> None:
        with self.assertRaisesRegex(UsageError, "there is no directory"):
            check_has_networks(self.run_directory.path / "missing")
        with self.assertRaisesRegex(UsageError, "is not a run directory"):
            check_has_networks(self.run_directory.checkpoints)
        with self.assertRaisesRegex(UsageError, "has no algorithm.safetensors"):
            check_has_networks(self.add_checkpoint("best"))
        self.run_directory.config.touch()
        with self.assertRaisesRegex(UsageError, "has no checkpoint yet"):
            check_has_networks(self.run_directory.path)

    def test_a_directory_without_configuration_is_no_run(self) -> None:
        with self.assertRaisesRegex(UsageError, "is not a run directory"):
            open_run(self.run_directory.path)

    def test_a_second_launcher_does_not_get_the_directory_until_the_first_lets_go(self) -> None:
        other = RunDirectory(self.run_directory.path)
        with self.assertRaisesRegex(UsageError, "in use by another launcher"):
            other.create_and_lock()
        self.run_directory.unlock()
        other.create_and_lock()
        other.unlock()

    def test_a_launcher_that_has_only_begun_is_not_taken_for_a_killed_one(self) -> None:
        # What the files say may be from an earlier launcher, which has gone.
        gone = subprocess.Popen(["/bin/true"])
        gone.wait()
        for lock in self.run_directory.path.glob("*lock"):
            lock.write_text(f"{gone.pid}\n", encoding="utf-8")
        with self.assertRaisesRegex(UsageError, "in use by another launcher"):
            RunDirectory(self.run_directory.path).create_and_lock(self.fail)

    def test_the_directory_is_free_only_when_the_processes_of_a_killed_launcher_have_left(self) -> None:
        # A launcher that is gone, whose child holds the lock that it inherited until it is told to end.
        reader, writer = os.pipe()
        lock = self.run_directory.inherited_by_processes
        orphan = subprocess.Popen(["/bin/sh", "-c", "read line"], stdin=reader, pass_fds=lock)
        self.addCleanup(orphan.wait)
        os.close(reader)
        # Its number may be that of another process by now: here, of this test.
        (self.run_directory.path / "lock").write_text(f"{os.getpid()}\n", encoding="utf-8")
        self.run_directory.unlock()
        reports: list[str] = []

        def let_the_orphan_end(report: str) -> None:
            reports.append(report)
            os.close(writer)

        other = RunDirectory(self.run_directory.path)
        self.addCleanup(other.unlock)
        other.create_and_lock(let_the_orphan_end)
        self.assertIn("waiting for the processes of a launcher that was killed", reports[0])
        self.assertEqual(orphan.wait(), 1)  # read met the end of its input

    def test_whether_its_launcher_was_killed_is_told_from_its_process(self) -> None:
        self.assertFalse(self.run_directory.launcher_was_killed(), "nothing is recorded")
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as launcher:
            record = {"pid": launcher.pid, "started_at": started_at(launcher.pid)}
            write_json(self.run_directory.processes, {"launcher": record})
            self.assertFalse(self.run_directory.launcher_was_killed())
        self.assertTrue(self.run_directory.launcher_was_killed())
        # Another process may have got its number.
        write_json(self.run_directory.processes, {"launcher": {"pid": os.getpid(), "started_at": started_at(os.getpid()) - 1}})
        self.assertTrue(self.run_directory.launcher_was_killed())

    def test_a_file_that_lost_its_contents_counts_as_missing(self) -> None:
        self.run_directory.result.touch()
        self.assertIsNone(read_json(self.run_directory.result))
        self.run_directory.result.write_bytes(b'{"stop": "\xff"}')
        self.assertIsNone(read_json(self.run_directory.result))
        for text in ("", "3", "[]", "null"):
            self.run_directory.result.write_text(text, encoding="utf-8")
            self.assertEqual(read_object(self.run_directory.result), {})

    def test_the_best_return_is_that_of_the_weights_that_are_kept(self) -> None:
        self.assertIsNone(self.run_directory.best_return())
        manifest = self.add_checkpoint("best") / "MANIFEST.textproto"
        self.assertIsNone(self.run_directory.best_return())
        manifest.write_text("counters {\n  best_evaluation: -1.5e-05\n  last_evaluation: 3\n}\n", encoding="utf-8")
        self.assertEqual(self.run_directory.best_return(), -1.5e-05)

    def test_why_a_run_is_over_is_what_its_newest_checkpoint_says(self) -> None:
        self.assertEqual(self.run_directory.end_reason(), "")
        text = 'counters {\n  end_reason: "100 environment steps are done"\n}\n'
        (self.add_checkpoint("update-000000000050") / "MANIFEST.textproto").write_text(text, encoding="utf-8")
        self.assertEqual(self.run_directory.end_reason(), "100 environment steps are done")
        self.add_checkpoint("update-000000000060")
        self.assertEqual(self.run_directory.end_reason(), "")

    def test_what_was_typed_is_what_the_metadata_say(self) -> None:
        for metadata, typed in (
            ({"command_line": ["tools/headrace run 'a b.textproto'"]}, "tools/headrace run 'a b.textproto'"),
            ({"command_line": ["learner", "--config=a b"]}, "learner '--config=a b'"),
            ({"command_line": 3}, ""),
            ([], ""),
        ):
            write_json(self.run_directory.metadata, metadata)
            self.assertEqual(self.run_directory.typed(), typed)

    def test_rows_of_a_damaged_file_are_left_out(self) -> None:
        self.run_directory.progress.write_text("env_steps,wall_seconds\n1,2\n", encoding="utf-8")
        self.assertEqual(self.run_directory.progress_rows(), [])
        self.run_directory.evaluations.write_bytes(b"\x00\xffgarbage\n3\n")
        self.assertEqual(self.run_directory.evaluation_rows(), [])

    def test_files_are_replaced_as_a_whole(self) -> None:
        write_json(self.run_directory.result, {"a": 1})
        write_json(self.run_directory.result, {"b": 2})
        self.assertEqual(read_json(self.run_directory.result), {"b": 2})
        self.assertEqual(list(self.run_directory.path.glob("*.new")), [])


if __name__ == "__main__":
    unittest.main()
