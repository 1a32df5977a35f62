"""Every side of every benchmark still runs and prints its figures; for so short a time that they mean nothing."""

import json
import os
import subprocess
import sys
import unittest

SHORT = ["--json", "--seconds", "0.05", "--rounds", "1"]
ACTOR = [*SHORT, "--environments", "Pendulum-v1", "--lanes", "2"]


class BenchmarkTest(unittest.TestCase):
    def assert_prints(self, command: list[str], names: set[str]) -> None:
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        figures = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
        self.assertEqual({figure["name"] for figure in figures}, names)
        for figure in figures:
            self.assertGreater(figure["value"], 0)

    @unittest.skipIf(len(os.sched_getaffinity(0)) < 2, "needs two cores")
    def test_actor(self) -> None:
        names = {"actor/Pendulum-v1/random/lanes2", "actor/Pendulum-v1/mlp256/lanes2"}
        self.assert_prints([sys.executable, "tools/bench/actor.py", *ACTOR], names)
        self.assert_prints([sys.executable, "tools/bench/actor_gymnasium.py", *ACTOR], names)

    def test_sac_update(self) -> None:
        names = {"sac_update/batch256_hidden256/threads1", "sac_update/batch64_hidden64/threads1"}
        self.assert_prints(["tools/bench/sac_update", "--json", "--threads=1", "--seconds=0.05", "--rounds=1"], names)
        self.assert_prints([sys.executable, "tools/bench/sac_update_sb3.py", *SHORT, "--threads", "1"], names)


if __name__ == "__main__":
    unittest.main()
