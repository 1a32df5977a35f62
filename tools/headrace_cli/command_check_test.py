"""tools/headrace check: whether a run fits this machine."""

import unittest
from pathlib import Path

from headrace_cli.command_check import comparison

GIB = 1 << 30
TOTAL = {"memory_bytes": 3 * GIB, "disk_bytes": 2 * GIB}


class ComparisonTest(unittest.TestCase):
    def test_what_fits_is_set_beside_what_is_free(self) -> None:
        lines = comparison(TOTAL, memory=8 * GIB, disk=50 * GIB, directory=Path("/runs"))
        self.assertEqual(
            lines, ["memory: needs 3 GiB of 8 GiB free on this machine", "disk: needs 2 GiB of 50 GiB free for /runs"]
        )

    def test_what_does_not_fit_is_warned_of(self) -> None:
        lines = comparison(TOTAL, memory=GIB, disk=50 * GIB, directory=Path("/runs"))
        self.assertEqual(lines[1], "warning: it does not fit: 2 GiB of memory are missing")
        lines = comparison(TOTAL, memory=8 * GIB, disk=GIB, directory=Path("/runs"))
        self.assertEqual(lines[2], "warning: it does not fit: 1 GiB of disk are missing")


if __name__ == "__main__":
    unittest.main()
