"""What a run is said to be built from, and what is told while it is built."""

import contextlib
import io
import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from headrace_cli import workspace
from headrace_cli.errors import UsageError
from headrace_cli.workspace import built_revision, collect, record_build, revision


class CollectTest(unittest.TestCase):
    def test_a_long_build_tells_how_far_it_is_and_one_that_waits_for_what(self) -> None:
        lines = [
            "Another command (pid=7) is running. Waiting for it to complete...\n",
            "[1 / 90] Compiling a.cc\n",
            "[40 / 90] Compiling b.cc\n",
            "INFO: no progress\n",
            "[41 / 90] Compiling c.cc\n",
        ]
        seconds = iter([0, 1, 31, 31, 35])  # at first, of each line of progress, and once more of one that is told
        told = io.StringIO()
        with contextlib.redirect_stderr(told):
            output = collect(io.StringIO("".join(lines)), clock=lambda: next(seconds))
        self.assertEqual(output, "".join(lines))
        self.assertEqual(told.getvalue(), lines[0] + lines[2])


class RevisionTest(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.root = Path(temporary.name)
        self.file = self.root / "file"
        self.file.write_text("1\n", encoding="utf-8")

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
        command = ["git", "-C", str(self.root), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def test_it_is_the_commit_and_whether_files_differ_from_it(self) -> None:
        self.git("init")
        self.git("add", "file")
        self.git("commit", "--message=first")
        commit = self.git("rev-parse", "HEAD")
        self.assertEqual(revision(self.root), commit)
        self.file.write_text("2\n", encoding="utf-8")
        self.assertEqual(revision(self.root), f"{commit}-dirty")

    def test_sources_that_git_does_not_know_have_none(self) -> None:
        self.assertEqual(revision(self.root), "")

    def test_without_git_there_is_none(self) -> None:
        self.git("init")
        self.addCleanup(os.environ.__setitem__, "PATH", os.environ["PATH"])
        os.environ["PATH"] = str(self.root)
        self.assertEqual(revision(self.root), "")

class ConfigurationTest(unittest.TestCase):
    def test_one_that_is_not_there_comes_with_the_nearest_name(self) -> None:
        with tempfile.TemporaryDirectory() as folder, mock.patch.object(workspace, "ROOT", Path(folder)):
            known = Path(folder, "deploy", "run", "pendulum_sac.textproto")
            known.parent.mkdir(parents=True)
            known.touch()
            workspace.check_configuration(known)
            for name in ("pendulum_sac", "runs/pendulum-sac.textproto"):
                with self.assertRaisesRegex(UsageError, "did you mean " + re.escape(os.path.relpath(known))):
                    workspace.check_configuration(Path(name))
            with self.assertRaisesRegex(UsageError, "there is no configuration file nothing_alike$"):
                workspace.check_configuration(Path("nothing_alike"))


class BuiltRevisionTest(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.root = Path(temporary.name)
        environment = mock.patch.dict(os.environ, HEADRACE_BINARIES=str(self.root))
        environment.start()
        self.addCleanup(environment.stop)
        for name in ("actor", "learner"):
            self.build(name)

    def build(self, name: str, contents: str = "built") -> None:
        (self.root / name).write_text(contents, encoding="utf-8")

    def test_it_is_that_of_the_build(self) -> None:
        record_build(("actor", "learner"), "abc")
        self.assertEqual(built_revision(("actor", "learner")), "abc")

    def test_each_binary_has_its_own(self) -> None:
        record_build(("actor", "learner"), "abc")
        record_build(("learner",), "def")
        self.assertEqual(built_revision(("actor",)), "abc")
        self.assertEqual(built_revision(("learner",)), "def")
        self.assertEqual(built_revision(("actor", "learner")), "not known: the binaries are of several revisions")

    def test_binaries_that_somebody_else_built_have_none(self) -> None:
        not_known = "not known: the binaries are not as tools/headrace built them"
        self.assertEqual(built_revision(("actor", "learner")), not_known)
        record_build(("actor", "learner"), "abc")
        self.build("learner", "built by somebody else")
        self.assertEqual(built_revision(("actor",)), "abc")
        self.assertEqual(built_revision(("actor", "learner")), not_known)

    def test_sources_without_git_have_none(self) -> None:
        record_build(("actor",), "")
        self.assertEqual(built_revision(("actor",)), "not known: the sources are no git checkout")


if __name__ == "__main__":
    unittest.main()
