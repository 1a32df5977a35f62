"""Runs promtool, which Debian's package prometheus brings."""

import shutil
import subprocess
import unittest


def promtool(test: unittest.TestCase, *arguments: str, given: str = "") -> str:
    """What it printed; the test fails if it is missing or not satisfied."""
    if shutil.which("promtool") is None:
        test.fail("promtool is not installed: `tools/setup --test` installs it with Debian's package prometheus")
    result = subprocess.run(
        ["promtool", *arguments], input=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if result.returncode != 0:
        test.fail(f"promtool {' '.join(arguments)} ended with code {result.returncode}:\n{result.stdout}")
    return result.stdout
