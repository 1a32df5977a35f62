"""What a run is said to be built from."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

from headrace_cli.workspace import revision


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


if __name__ == "__main__":
    unittest.main()
