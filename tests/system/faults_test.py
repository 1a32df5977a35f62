"""Processes that are killed in mid-run: training goes on, and what was lost is told."""

import os
import re
import signal
import stat
import time
import unittest
from pathlib import Path

from run import TINY, Run, SystemTest

INSERTED = "headrace_replay_table_inserted_steps"
LOST_CHUNKS = "headrace_replay_lost_chunks_total"
LOST_STEPS = "headrace_learner_lost_steps_total"
# The score is that of a solved pendulum; the last evaluation is of the final weights.
SCORE = -200.0


class FaultsTest(SystemTest):
    def assert_learned_in_spite_of(self, run: Run, *killed: str) -> None:
        code, output = run.wait()
        self.assertEqual(code, 0)
        for name in killed:
            self.assertIn(f"{name} died (killed by SIGKILL) and is started again", output)
        self.assertGreaterEqual(run.evaluations()[-1]["mean_return"], SCORE)
        self.assertTrue(run.is_deserted())

    def kill_and_await(self, run: Run, name: str) -> None:
        # Before it serves its death would end the run.
        run.wait_until(lambda: bool(run.processes()[name]["addresses"]), f"{name} serves")
        run.kill_process(name)
        run.wait_until(lambda: run.processes()[name]["attempts"] == 2, f"{name} is started again")

    def test_an_actor_and_the_evaluator_are_killed(self) -> None:
        run = Run(self)
        run.start()
        run.wait_for_env_steps(1500)
        self.kill_and_await(run, "actor-0")
        self.kill_and_await(run, "evaluator")
        self.assert_learned_in_spite_of(run, "actor-0", "evaluator")
        self.assertEqual(run.processes()["actor-1"]["attempts"], 1)

    def test_a_shard_without_a_checkpoint_comes_back_empty_and_its_loss_is_counted(self) -> None:
        run = Run(self, "learner.log_interval_seconds=0.1", "checkpoint.interval_seconds=0")
        run.start()
        run.wait_for_env_steps(1500)
        run.wait_for_metric("replay-0", INSERTED, 100)  # its actor may have joined later
        self.kill_and_await(run, "replay-0")
        run.wait_for_metric("learner", LOST_STEPS, 1)
        # Its writer has numbered its chunks since the beginning: the new life knows how many it never got.
        run.wait_for_metric("replay-0", LOST_CHUNKS, 1)
        self.assert_learned_in_spite_of(run, "replay-0")
        self.assertIn("shard 0 came back with", run.log("learner"))
        self.assertGreater(run.progress()[-1]["replay/lost_steps"], 0)

    def test_the_only_shard_comes_back_empty_and_nothing_is_learned_from_a_handful_of_steps(self) -> None:
        # Steps take long enough that some rows of progress are of the time in which the lost ones come again.
        slow = "environment.step_delay_seconds=0.001"
        run = Run(self, "replay.shards=1", "learner.log_interval_seconds=0.1", "checkpoint.interval_seconds=0", slow)
        run.start()
        run.wait_for_env_steps(1500)
        self.kill_and_await(run, "replay-0")
        run.wait_for_metric("learner", LOST_STEPS, 1)
        lost = run.metric("learner", LOST_STEPS) or 0.0
        self.assert_learned_in_spite_of(run, "replay-0")
        # Updates go on when as many steps are there as before the first one, and catch up with what came meanwhile.
        rows = run.progress()
        first = next(row for row in rows if row["replay/lost_steps"] > 0)
        few = [row["updates"] for row in rows if row["replay/lost_steps"] > 0 and row["env_steps"] - lost < 900]
        self.assertGreater(len(few), 0)
        self.assertLessEqual(few[-1] - first["updates"], 10, "batches that were there already")
        # The run does not forget what it lost when it is resumed.
        run.overrides += ["stop.score=", f"stop.env_steps={int(run.counters()['env_steps']) + 300}"]
        self.assertEqual(run.to_end()[0], 0)
        self.assertEqual(run.progress()[-1]["replay/lost_steps"], lost)
        self.assertRegex(run.output(), rf"  lost steps +{lost:,.0f}\n")

    def test_a_shard_with_a_checkpoint_loses_only_what_came_after(self) -> None:
        run = Run(self, "learner.log_interval_seconds=0.1", "checkpoint.interval_seconds=0.2")
        run.start()
        run.wait_for_env_steps(1500)
        run.wait_for_metric("replay-0", INSERTED, 100)  # its actor may have joined later
        # The one under way may have begun before there was anything to save.
        written = run.metric("learner", "headrace_learner_checkpoints_total") or 0
        run.wait_for_metric("learner", "headrace_learner_checkpoints_total", written + 2)
        self.kill_and_await(run, "replay-0")
        self.assert_learned_in_spite_of(run, "replay-0")
        self.assertIn("restored from checkpoint update-", run.log("replay-0"))
        connections = re.findall(r"connected to shard 0 at \S+: (\d+) items", run.log("learner"))
        self.assertGreaterEqual(len(connections), 2)
        self.assertGreater(int(connections[-1]), 0)

    def test_a_shard_with_a_journal_loses_nothing(self) -> None:
        run = Run(self, "replay.journal=true", "learner.log_interval_seconds=0.1")
        run.start()
        run.wait_for_env_steps(1500)
        run.wait_for_metric("replay-0", INSERTED, 100)  # its actor may have joined later
        self.kill_and_await(run, "replay-0")
        self.assert_learned_in_spite_of(run, "replay-0")
        self.assertRegex(run.log("replay-0"), r"[1-9]\d* steps restored from the journal")
        self.assertEqual(run.progress()[-1]["replay/lost_steps"], 0)
        self.assertNotIn("came back with", run.log("learner"))

    def test_what_a_learner_has_just_begun_to_learn_is_not_lost_either(self) -> None:
        run = Run(self, "checkpoint.interval_seconds=3600", "stop.score=", "stop.env_steps=1000000000")
        run.start()
        run.wait_for_metric("learner", "headrace_learner_checkpoints_total", 1)
        self.kill_and_await(run, "learner")
        run.wait_until(lambda: "resumed at" in run.log("learner"), "the learner goes on")
        self.assertNotIn("learning begins anew", run.log("learner"))
        run.signal(signal.SIGINT)
        self.assertEqual(run.wait()[0], 130)

    def test_the_learner_goes_on_from_its_checkpoint(self) -> None:
        run = Run(self, "checkpoint.interval_seconds=0.2")
        run.start()
        run.wait_for_env_steps(1500)
        run.wait_for_metric("learner", "headrace_learner_checkpoints_total", 1)
        killed = time.time()
        self.kill_and_await(run, "learner")
        # The run goes on where it was, its counters begin at 0: one that fell to anything else would look like a jump.
        told = run.wait_for_metric("learner", "headrace_learner_run_updates", 100)
        self.assertEqual(told.total("headrace_learner_run_lost_steps"), 0)
        done, of_the_run = (run.metric("learner", f"headrace_learner_{name}") for name in ("updates_total", "run_updates"))
        self.assertLess(done or 0, of_the_run or 0)
        began = "headrace_learner_training_timestamp_seconds"
        self.assertLessEqual(run.wait_for_metric("learner", began, killed).total(began), time.time())
        self.assert_learned_in_spite_of(run, "learner")
        self.assertIn("resumed at", run.log("learner"))
        for name in ("actor-0", "actor-1", "evaluator", "replay-0", "replay-1"):
            self.assertEqual(run.processes()[name]["attempts"], 1, f"{name} waited for the learner")

    def test_the_learner_begins_again_without_a_checkpoint(self) -> None:
        run = Run(self, "checkpoint.interval_seconds=0")
        run.start()
        run.wait_for_env_steps(1500)
        self.kill_and_await(run, "learner")
        self.assert_learned_in_spite_of(run, "learner")
        self.assertNotIn("resumed at", run.log("learner"))

    def test_three_deaths_in_a_minute_end_the_run(self) -> None:
        run = Run(self, "stop.score=", "stop.env_steps=1000000")
        run.start()
        run.wait_for_env_steps(100)
        for attempt in (1, 2, 3):
            run.wait_until(lambda n=attempt: run.log("actor-1").count("leased index") == n, f"start {attempt}")
            run.kill_process("actor-1")
        code, output = run.wait()
        self.assertEqual(code, 1)
        self.assert_mentions(output, "actor-1 died 3 times within 60 s (last: killed by SIGKILL)")
        self.assert_mentions(output, "actor-1.log", "leased index")
        self.assert_mentions(output, f"run directory        {run.path}", "the same command goes on from the newest checkpoint")
        self.assertTrue(run.is_deserted())

    def test_training_that_diverges_is_counted_and_ends_the_run(self) -> None:
        run = Run(self, *TINY, "sac.temperature_learning_rate=100", "stop.env_steps=1000000")
        code, output = run.to_end()
        self.assertEqual(code, 1)
        self.assert_mentions(output, "learner died 3 times", "training has diverged")
        # For the metrics of the next start: nobody sees those of one that ends so.
        identity = (run.path / "checkpoints/IDENTITY.textproto").read_text(encoding="utf-8")
        self.assertIn("divergences: 3", identity)

    def test_an_actor_whose_environment_hangs_ends_and_says_where(self) -> None:
        run = Run(self, "environment.step_delay_seconds=3600", "hang_seconds=8", "actor.processes=1")
        run.start()
        code, output = run.wait()
        self.assertEqual(code, 1)
        self.assertIn("actor-0 died (killed by SIGABRT) and is started again", output)
        self.assertIn("no sign of life for 8 s", run.log("actor-0"))
        self.assertIn("headrace::VectorEnvironment::StepLane", run.log("actor-0"))
        self.assertTrue(run.is_deserted())

    def test_a_death_before_it_serves_ends_the_run(self) -> None:
        binaries = Path(os.environ["HEADRACE_BINARIES"]).absolute()
        broken = self.root / "binaries"
        for name in ("learner/learner", "replay/replay", "tools/inspect"):
            (broken / name).parent.mkdir(parents=True, exist_ok=True)
            (broken / name).symlink_to(binaries / name)
        actor = broken / "actor" / "actor"
        actor.parent.mkdir()
        actor.write_text("#!/bin/sh\necho the simulator has no licence\nexit 7\n", encoding="utf-8")
        actor.chmod(actor.stat().st_mode | stat.S_IXUSR)
        self.addCleanup(os.environ.__setitem__, "HEADRACE_BINARIES", str(binaries))
        os.environ["HEADRACE_BINARIES"] = str(broken)
        run = Run(self)
        code, output = run.to_end()
        self.assertEqual(code, 1)
        self.assert_mentions(output, "ended before it served (exit code 7)", "the simulator has no licence", "actor-")
        self.assertTrue(run.is_deserted())

    def test_ctrl_c_twice_kills(self) -> None:
        run = Run(self, "stop.score=", "stop.env_steps=1000000")
        run.start()
        run.wait_for_env_steps(100)
        # It drains for ever.
        os.kill(run.pid("learner"), signal.SIGSTOP)
        run.signal(signal.SIGINT)
        run.wait_until(lambda: "draining" in run.output(), "it drains")
        run.signal(signal.SIGINT)
        code, output = run.wait()
        self.assertEqual(code, 130)
        self.assert_mentions(output, "killing what is left", "goes on from the last checkpoint")
        self.assertTrue(run.is_deserted())


if __name__ == "__main__":
    unittest.main()
