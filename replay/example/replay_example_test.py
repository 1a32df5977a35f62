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
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertRegex(result.stdout, r"\A(batch \d+: mean reward -[\d.]+, .* probability [\d.e-]+\n){2}")
        self.assertRegex(result.stdout, r"1000 steps inserted, 1000 items, \d+ sampled at least\n\Z")
        with replay_client.connect(address, timeout_seconds=30) as shard:
            (table,) = shard.info().tables
        self.assertEqual(table.state.items, 1000)
        self.assertGreater(table.state.priority_updates, 0)


if __name__ == "__main__":
    unittest.main()
