"""The same seed gives the same bits, in the deterministic mode: one actor, one shard, lockstep.

It takes `deterministic: true`, actor.processes=1 and replay.shards=1; the learner's number of threads must be the same,
as sums are split over them. Evaluations and checkpoints do not disturb it, nor do times of publishing.
"""

import unittest
from pathlib import Path

from run import PENDULUM, TINY, Run, SystemTest

LOCKSTEP = ("deterministic=true", "stop.env_steps=1100")
PENDULUM_IN_LOCKSTEP = (*TINY, *LOCKSTEP)
# Epsilon falls to the last step of the run, so that every update has another.
CARTPOLE_DQN = Path("deploy/run/cartpole_dqn.textproto").absolute()
CARTPOLE_IN_LOCKSTEP = (
    *LOCKSTEP, "actor.processes=1", "replay.shards=1", "replay.min_steps=100", "evaluation.processes=0", "stop.score=",
    "dqn.updates_per_step=1", "dqn.batch_size=16", "dqn.exploration.share=1",
)


class DeterminismTest(SystemTest):
    def final_tensors(self, name: str, *overrides: str, config: Path = PENDULUM) -> dict[str, bytes]:
        lockstep = PENDULUM_IN_LOCKSTEP if config == PENDULUM else CARTPOLE_IN_LOCKSTEP
        run = Run(self, *lockstep, *overrides, config=config, name=name)
        code, _ = run.to_end()
        self.assertEqual(code, 0)
        self.assertGreaterEqual(run.counters()["updates"], 1000)
        checkpoint: Path = run.checkpoints()[-1]
        names = ("policy.safetensors", "algorithm.safetensors", "optimizer.safetensors")
        return {file: (checkpoint / file).read_bytes() for file in names}

    def assert_same(self, one: dict[str, bytes], other: dict[str, bytes]) -> None:
        for file, contents in one.items():
            self.assertTrue(contents == other[file], f"{file} differs")

    def test_one_environment(self) -> None:
        first = self.final_tensors("first")
        self.assert_same(first, self.final_tensors("second"))
        other_seed = self.final_tensors("other_seed", "seed=2")
        for file, contents in first.items():
            self.assertFalse(contents == other_seed[file], f"{file} does not depend on the seed")

    def test_four_environments_and_evaluations(self) -> None:
        overrides = ("actor.environments=4", "evaluation.interval_steps=300", "evaluation.episodes=1")
        first = self.final_tensors("first", *overrides, "evaluation.processes=1")
        self.assert_same(first, self.final_tensors("second", *overrides, "evaluation.processes=0"))

    def test_a_schedule_that_follows_the_run(self) -> None:
        first = self.final_tensors("first", config=CARTPOLE_DQN)
        self.assert_same(first, self.final_tensors("second", config=CARTPOLE_DQN))


if __name__ == "__main__":
    unittest.main()
