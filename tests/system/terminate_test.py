"""SIGTERM at bad moments: what was acknowledged is kept, and processes end by themselves.

Those that keep something are told to end, as when a cluster restarts them, and the launcher starts them again. Actors live
on and are the witnesses: their writers have numbered what they sent, so that a shard which came back counts every chunk
that it had acknowledged and no longer has.
"""

import os
import signal
import time
import unittest

from run import Run, SystemTest

SHARDS = ("replay-0", "replay-1")
# And shorter than it takes the learner to find that a connection is silent.
LONGER_THAN_BETWEEN_CHECKPOINTS = 5.0
INSERTED = "headrace_replay_table_inserted_steps"
SAMPLED = "headrace_replay_table_sampled_steps"
LOST_CHUNKS = "headrace_replay_lost_chunks_total"
CONNECTED_SHARDS = "headrace_learner_connected_shards"
LOST_STEPS = "headrace_learner_lost_steps_total"
UPDATES = "headrace_learner_run_updates"
WRITERS = "headrace_replay_writers"

# No end but the one it is told, and no checkpoints but those that a process writes because it ends.
PARTS = ("stop.score=", "stop.env_steps=0", "stop.wall_seconds=3600", "evaluation.processes=0", "checkpoint.interval_seconds=0")
INSERTING = ("replay.min_steps=100000", "sac.random_steps=100000", "replay.capacity=200000")
# Nearly all of the time goes to updates.
UPDATING = ("sac.hidden=512,512", "sac.batch_size=512", "replay.min_steps=600", "sac.random_steps=600")


class TerminateTest(SystemTest):
    def terminate(self, run: Run, *names: str) -> None:
        """Twice, as where somebody signals a process and its group: that is no reason to hurry."""
        pids = [run.pid(name) for name in names]
        for pid in pids + pids:
            os.kill(pid, signal.SIGTERM)

    def assert_resumes_with_everything(self, run: Run, before: dict[str, float], *names: str) -> None:
        """`before`: steps that each shard had."""
        for name in names:
            run.wait_until(lambda n=name: run.processes()[n]["attempts"] == 2, f"{name} is started again")
            # It ended by itself; nobody had to kill it.
            self.assertIn(f"{name} died (it was told to end) and is started again", run.output())
        for shard, steps in before.items():
            run.wait_for_metric(shard, INSERTED, steps)
            # They tell what they have been acknowledged.
            run.wait_for_metric(shard, WRITERS, 1)
            self.assertEqual(run.metric(shard, LOST_CHUNKS), 0, shard)
        run.wait_for_metric("learner", CONNECTED_SHARDS, 2)
        run.wait_for_env_steps(sum(before.values()))
        self.assertEqual(run.metric("learner", LOST_STEPS), 0)
        for actor in ("actor-0", "actor-1"):
            self.assertEqual(run.processes()[actor]["attempts"], 1, f"{actor} waited")
        run.signal(signal.SIGTERM)
        code, output = run.wait()
        self.assertEqual(code, 130)
        self.assertNotIn("is killed", output)
        self.assertTrue(run.is_deserted())
        self.assertGreaterEqual(run.counters()["env_steps"], sum(before.values()))

    def inserted(self, run: Run) -> dict[str, float]:
        return {shard: run.metric(shard, INSERTED) or 0 for shard in SHARDS}

    def wait_for_both(self, run: Run, metric: str, at_least: float) -> None:
        for shard in SHARDS:
            run.wait_for_metric(shard, metric, at_least)

    def test_during_insertion(self) -> None:
        run = Run(self, *PARTS, *INSERTING)
        run.start()
        self.wait_for_both(run, INSERTED, 2000)
        before = self.inserted(run)
        self.terminate(run, "learner", *SHARDS)
        self.assert_resumes_with_everything(run, before, "learner", *SHARDS)

    def test_during_sampling(self) -> None:
        run = Run(self, *PARTS)
        run.start()
        self.wait_for_both(run, SAMPLED, 1000)
        before = self.inserted(run)
        self.terminate(run, "learner", *SHARDS)
        self.assert_resumes_with_everything(run, before, "learner", *SHARDS)

    def test_during_an_update(self) -> None:
        run = Run(self, *PARTS, *UPDATING)
        run.start()
        run.wait_for_metric("learner", UPDATES, 3)
        before, updates = self.inserted(run), run.metric("learner", UPDATES) or 0
        self.terminate(run, "learner", *SHARDS)
        self.assert_resumes_with_everything(run, before, "learner", *SHARDS)
        self.assertGreaterEqual(run.counters()["updates"], updates)
        self.assertIn("resumed at", run.log("learner"))

    def test_during_a_checkpoint(self) -> None:
        run = Run(self, *PARTS, "checkpoint.interval_seconds=0.2")
        run.start()
        self.wait_for_both(run, SAMPLED, 1000)
        run.wait_until(lambda: self.is_stopped_before_its_part(run), "a checkpoint is under way")
        before = {"replay-1": run.metric("replay-1", INSERTED) or 0}
        self.terminate(run, "learner", *SHARDS)
        os.kill(run.pid("replay-0"), signal.SIGCONT)
        self.assert_resumes_with_everything(run, before, "learner", *SHARDS)
        self.assertNotIn("checkpoint failed", run.log("learner"))

    def is_stopped_before_its_part(self, run: Run) -> bool:
        """Stops one shard; the other has written its part of a checkpoint then, and the learner waits for the first's."""
        os.kill(run.pid("replay-0"), signal.SIGSTOP)
        enough = time.monotonic() + LONGER_THAN_BETWEEN_CHECKPOINTS
        while time.monotonic() < enough:
            if self.newest(run, "replay-1") > self.newest(run, "replay-0"):
                return True
            time.sleep(0.01)
        os.kill(run.pid("replay-0"), signal.SIGCONT)  # it was stopped between its part and its answer
        return False

    def newest(self, run: Run, shard: str) -> str:
        return max((path.stem for path in (run.path / "checkpoints" / shard).glob("update-*.replay")), default="")

    def test_a_shard_alone(self) -> None:
        run = Run(self, *PARTS)
        run.start()
        self.wait_for_both(run, SAMPLED, 1000)
        before = self.inserted(run)
        self.terminate(run, "replay-1")
        self.assert_resumes_with_everything(run, before, "replay-1")
        self.assertIn("restored from checkpoint end-", run.log("replay-1"))


if __name__ == "__main__":
    unittest.main()
