"""docs/metrics.md is what the code declares."""

import subprocess
import unittest
from pathlib import Path


class MetricsReferenceTest(unittest.TestCase):
    def test_the_page_is_current(self) -> None:
        printed = subprocess.run(["tools/metrics_reference"], stdout=subprocess.PIPE, text=True, check=True).stdout
        self.maxDiff = None
        self.assertEqual(
            Path("docs/metrics.md").read_text(encoding="utf-8"),
            printed,
            "docs/metrics.md is not what the code declares: bazel run //tools:metrics_reference > docs/metrics.md",
        )


if __name__ == "__main__":
    unittest.main()
