"""What this machine has to spare for a run."""

import re
import shutil
from pathlib import Path

# The files of a control group that limit memory and say how much is in use: version 2, version 1. What is in use
# includes files in memory, of which the kernel drops those that nobody has used lately as soon as it needs the room.
_GROUP_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def free_memory(root: Path = Path("/")) -> int:
    """Bytes that new processes can have: of the whole machine, or of a control group that allows less, as containers
    do. `root` is where /proc and /sys are."""
    meminfo = (root / "proc/meminfo").read_text(encoding="ascii")
    available = int(_field(meminfo, r"MemAvailable:\s+(\d+) kB")) * 1024
    return max(min([available, *_free_in_groups(root)]), 0)


def free_disk(path: Path) -> int:
    """Bytes that this user can still write to the file system that holds `path`, which need not exist yet."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def _free_in_groups(root: Path) -> list[int]:
    """Of every group with a limit that this process is in."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:  # a kernel without control groups
        return []
    free = []
    for _, controllers, group in (line.split(":", 2) for line in lines):
        if controllers not in ("", "memory"):
            continue
        mount = root / "sys/fs/cgroup" / controllers
        inside = mount / group.lstrip("/")
        # Seen from inside a container the path may be one that only the host has; the mount is then the group itself.
        groups = [inside, *inside.parents][: len(inside.relative_to(mount).parts) + 1]
        free += [room for one in groups if (room := _free_in_group(one)) is not None]
    return free


def _free_in_group(group: Path) -> int | None:
    """None: it has no limit."""
    for limit, usage, droppable in _GROUP_FILES:
        try:
            most, used = (int((group / name).read_text(encoding="ascii")) for name in (limit, usage))
            statistics = (group / "memory.stat").read_text(encoding="ascii")
        except (OSError, ValueError):  # another version, or "max"
            continue
        return most - used + int(_field(statistics, rf"^{droppable} (\d+)$"))
    return None


def _field(text: str, pattern: str) -> str:
    """The number in the line that matches; "0" if there is none."""
    match = re.search(pattern, text, re.MULTILINE)
    return match[1] if match else "0"
