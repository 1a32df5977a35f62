"""The program that docs/replay_cpp.md prints, against a shard."""

import subprocess
import unittest

from headrace_cli import replay_client
from headrace_cli.testing.replay_shard import start_shard


class ReplayExampleTest(unittest.TestCase):
    def test_inserts_samples_and_sets_priorities(self) -> None:
        address = start_shard(self).addresses["grpc"]
        result = subprocess.run(
            ["replay/example/replay_example", address], capture_output=True, text=True, check=False
        )
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertRegex(result.stdout, r"\A(batch \d+: mean reward -[\d.]+, .* probability [\d.e-]+\n){2}")
        self.assertRegex(result.stdout, r"1000 steps inserted, 1000 items, \d+ sampled at least\n\Z")
        with replay_client.connect(address, timeout_seconds=30) as shard:
            state = shard.table("walks")
            batch = state.sample({"position": range(2), "reward": range(1)}, 1000)
            (info,) = shard.info().tables
        self.assertEqual(info.state.items, 1000)
        # A priority is as high as the reward is low: those that were set draw what they ask for.
        self.assertLess(batch.columns["reward"].mean(), 0)
        self.assertGreater(info.state.priority_updates, 0)


if __name__ == "__main__":
    unittest.main()
