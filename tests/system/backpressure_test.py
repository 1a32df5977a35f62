"""A learner that is slower than its actors: the actors wait for it, or go on and drop what it cannot take."""

import unittest

from headrace_cli.child import Child, ChildSpec
from headrace_cli.metrics import Scrape, fetch
from headrace_cli.workspace import REPLAY, binary
from run import TINY, Run, SystemTest, wait_until

ENV_STEPS = "headrace_actor_env_steps_total"
DROPPED = "headrace_actor_dropped_steps_total"
BLOCKED = "headrace_actor_inserts_blocked_seconds_total"

# Twenty updates of 128 transitions for each step: an actor could make thousands of steps in the time of one.
SLOW = (*TINY, "sac.updates_per_step=20", "sac.batch_size=128", "stop.env_steps=150")


class BackpressureTest(SystemTest):
    def test_actors_wait_for_the_learner(self) -> None:
        run = Run(self, *SLOW)
        run.start()
        scrape = run.wait_for_metric("actor-0", BLOCKED, 0.1)
        taken = scrape.total(ENV_STEPS)
        assert taken is not None
        self.assertEqual(scrape.total(DROPPED), 0)
        self.assertEqual(run.wait()[0], 0)
        # Ahead of what is inserted: replay.lead_steps in the writer's window, and one more step of each environment.
        self.assertLessEqual(taken, run.counters()["env_steps"] + 64 + 1)

    def test_an_environment_that_must_not_wait_drops_the_rest_of_its_episodes(self) -> None:
        run = Run(self, *SLOW, "actor.on_backpressure=DROP_EPISODE")
        run.start()
        scrape = run.wait_for_metric("actor-0", DROPPED, 1000)
        self.assertEqual(scrape.total(BLOCKED), 0)
        dropped, taken = scrape.total(DROPPED), scrape.total(ENV_STEPS)
        assert dropped is not None and taken is not None
        self.assertLess(dropped, taken, "what there was room for was recorded")
        self.assertEqual(run.wait()[0], 0)
        restored = self.restored(run)
        steps = run.counters()["env_steps"]
        self.assertLessEqual(steps, 150 + 1, "what there is no room for is not gathered in the writer either")
        self.assertEqual(restored.total("headrace_replay_table_inserted_steps"), steps)
        # Every step that was recorded is a transition that can be sampled; the newest may still lack its next observation.
        self.assertIn(restored.total("headrace_replay_stored_items"), (steps - 1, steps))

    def restored(self, run: Run) -> Scrape:
        """What a shard tells of itself that has been started with the run's last checkpoint."""
        arguments = [f"--config={run.path / 'config.textproto'}", f"--checkpoint_dir={run.path / 'checkpoints/replay-0'}"]
        shard = Child(ChildSpec("shard", "replay", binary(REPLAY), lambda _: arguments), self.root, self.root)
        self.addCleanup(shard.kill)
        shard.start({}, now=0)
        items: list[Scrape] = []

        def answers() -> bool:
            scrape = fetch(shard.addresses["metrics"]) if shard.check_ready() else None
            # It brings its metrics up to date several times a second.
            if scrape and scrape.total("headrace_replay_stored_items"):
                items.append(scrape)
            return bool(items)

        wait_until(answers, "the shard tells what it has restored")
        return items[0]


if __name__ == "__main__":
    unittest.main()
