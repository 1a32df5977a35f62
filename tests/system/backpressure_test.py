"""A learner that is slower than its actors: the actors wait for it, or go on and drop what it cannot take."""

import unittest

from run import TINY, Run, SystemTest

ENV_STEPS = "headrace_actor_env_steps_total"
DROPPED = "headrace_actor_dropped_steps_total"
BLOCKED = "headrace_actor_inserts_blocked_seconds_total"

# Twenty updates of 256 transitions for each step: an actor could make thousands of steps in the time of one.
SLOW = (*TINY, "sac.updates_per_step=20", "sac.batch_size=256", "stop.env_steps=300")


class BackpressureTest(SystemTest):
    def test_actors_wait_for_the_learner(self) -> None:
        run = Run(self, *SLOW)
        run.start()
        run.wait_for_metric("actor-0", BLOCKED, 0.1)
        taken = run.metric("actor-0", ENV_STEPS)
        assert taken is not None
        self.assertEqual(run.metric("actor-0", DROPPED), 0)
        self.assertEqual(run.wait()[0], 0)
        # Ahead of what is inserted: replay.lead_steps in the writer's window, and one more step of each environment.
        self.assertLessEqual(taken, run.counters()["env_steps"] + 64 + 1)

    def test_an_environment_that_must_not_wait_drops_the_rest_of_its_episodes(self) -> None:
        run = Run(self, *SLOW, "actor.on_backpressure=DROP_EPISODE")
        run.start()
        run.wait_for_metric("actor-0", DROPPED, 1000)
        self.assertEqual(run.metric("actor-0", BLOCKED), 0)
        dropped, taken = run.metric("actor-0", DROPPED), run.metric("actor-0", ENV_STEPS)
        assert dropped is not None and taken is not None
        self.assertLess(dropped, taken, "what there was room for was recorded")
        self.assertEqual(run.wait()[0], 0)
        self.assertIn("restored", self.restored(run), "what was recorded is whole: it can be read back")

    def restored(self, run: Run) -> str:
        """The log of the shard after it has been started again, and the run has gone on with what it restored."""
        run.overrides.append("stop.env_steps=320")
        self.assertEqual(run.to_end()[0], 0)
        return run.log("replay-0")


if __name__ == "__main__":
    unittest.main()
