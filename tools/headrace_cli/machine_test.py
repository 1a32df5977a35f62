"""What a machine has to spare, read from copies of the kernel's files."""

import tempfile
import unittest
from pathlib import Path

from headrace_cli.machine import free_disk, free_memory

MEMINFO = "MemTotal:       16000000 kB\nMemFree:          100000 kB\nMemAvailable:    8000000 kB\n"
GIB = 1 << 30


class FreeMemoryTest(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.root = Path(temporary.name)
        self.write("proc/meminfo", MEMINFO)

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def write_group(self, path: str, most: int | str, used: int, inactive: int) -> None:
        """Of version 2."""
        self.write(f"sys/fs/cgroup/{path}/memory.max", f"{most}\n")
        self.write(f"sys/fs/cgroup/{path}/memory.current", f"{used}\n")
        self.write(f"sys/fs/cgroup/{path}/memory.stat", f"anon 1\ninactive_file {inactive}\nactive_file 7\n")

    def test_without_control_groups_it_is_what_the_kernel_holds_for_available(self) -> None:
        self.assertEqual(free_memory(self.root), 8000000 * 1024)

    def test_the_limit_of_a_container_counts_less_what_is_in_use(self) -> None:
        self.write("proc/self/cgroup", "0::/\n")
        self.write_group("", most=4 * GIB, used=3 * GIB, inactive=GIB // 2)
        self.assertEqual(free_memory(self.root), GIB + GIB // 2)

    def test_the_limit_of_an_outer_group_counts_too(self) -> None:
        self.write("proc/self/cgroup", "0::/user/session\n")
        self.write_group("user", most=2 * GIB, used=GIB, inactive=0)
        self.write_group("user/session", most="max", used=GIB, inactive=0)
        self.assertEqual(free_memory(self.root), GIB)

    def test_control_groups_of_version_1_are_read(self) -> None:
        self.write("proc/self/cgroup", "9:cpu,cpuacct:/box\n4:memory:/box\n0::/\n")
        group = "sys/fs/cgroup/memory/box"
        self.write(f"{group}/memory.limit_in_bytes", f"{2 * GIB}\n")
        self.write(f"{group}/memory.usage_in_bytes", f"{GIB}\n")
        self.write(f"{group}/memory.stat", f"inactive_file 5\ntotal_inactive_file {GIB // 4}\n")
        self.assertEqual(free_memory(self.root), GIB + GIB // 4)

    def test_a_container_whose_path_only_the_host_knows_is_the_mount_itself(self) -> None:
        self.write("proc/self/cgroup", "0::/machine/of/the/host\n")
        self.write_group("", most=GIB, used=0, inactive=0)
        self.assertEqual(free_memory(self.root), GIB)

    def test_a_group_above_its_limit_has_nothing_left(self) -> None:
        self.write("proc/self/cgroup", "0::/\n")
        self.write_group("", most=GIB, used=2 * GIB, inactive=0)
        self.assertEqual(free_memory(self.root), 0)


class FreeDiskTest(unittest.TestCase):
    def test_a_directory_that_does_not_exist_yet_is_where_it_will_be(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            self.assertGreater(free_disk(Path(directory) / "runs" / "new"), 0)


if __name__ == "__main__":
    unittest.main()
