"""A real replay process for tests, of the binary that //replay builds."""

import tempfile
import time
import unittest
from pathlib import Path

from headrace_cli import workspace
from headrace_cli.child import Child, ChildSpec
from headrace_cli.testing.waiting import wait_until


def start_shard(test: unittest.TestCase, budget_bytes: int = 64 << 20) -> Child:
    """A shard that serves at `addresses["grpc"]`, until it is killed or the test ends."""
    temporary = tempfile.TemporaryDirectory()
    test.addCleanup(temporary.cleanup)
    flags = [
        "--config=deploy/run/pendulum_sac.textproto",
        "--set=replay.shards=1",
        f"--set=replay.budget_bytes={budget_bytes}",
    ]
    spec = ChildSpec("replay-0", "replay", workspace.binary(workspace.REPLAY), lambda _: flags)
    shard = Child(spec, Path(temporary.name), Path(temporary.name))
    shard.start({}, time.monotonic())
    test.addCleanup(shard.kill)

    def check_alive() -> None:
        if not shard.running:
            raise AssertionError(f"the shard does not run:\n{shard.log_tail()}")

    wait_until(shard.check_ready, check_alive)
    return shard
