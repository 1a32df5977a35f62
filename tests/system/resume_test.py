"""A run that is interrupted goes on where it was."""

import math
import re
import signal
import unittest
from pathlib import Path

from run import PENDULUM, Run, SystemTest, headrace, wait_until
from safetensors.numpy import load_file

BREAKOUT = Path("deploy/run/minatar_breakout_dqn.textproto").absolute()
# Two of each, and evaluations; no score, so that runs are as long as they are told to be.
PARTS = ("stop.score=", "evaluation.episodes=2", "evaluation.interval_steps=500", "learner.log_interval_seconds=0.1")


def temperature(run: Run) -> float:
    return math.exp(float(load_file(run.checkpoints()[-1] / "algorithm.safetensors")["log_temperature"]))


class ResumeTest(SystemTest):
    def assert_unbroken(self, run: Run) -> None:
        """The curves have no fold: nothing is told twice, and time and counts only grow."""
        for rows in (run.progress(), run.evaluations()):
            self.assertGreater(len(rows), 2)
            # A start that has done no update yet has no losses to tell of.
            self.assertNotIn(0.0, [row.get("charts/temperature") for row in rows])
            for earlier, later in zip(rows, rows[1:], strict=False):
                self.assertLess(earlier["wall_seconds"], later["wall_seconds"])
                self.assertLessEqual(earlier["env_steps"], later["env_steps"])
                self.assertLessEqual(earlier["updates"], later["updates"])

    def interrupt_at(self, run: Run, env_steps: int) -> None:
        run.start()
        run.wait_for_env_steps(env_steps)
        run.signal(signal.SIGINT)
        code, output = run.wait()
        self.assertEqual(code, 130)
        self.assert_mentions(output, "interrupted; the same command resumes it")
        self.assertTrue(run.is_deserted())

    def test_after_an_interrupt_everything_continues(self) -> None:
        run = Run(self, *PARTS, "stop.env_steps=4000")
        self.interrupt_at(run, 2000)
        before = run.counters()
        temperature_before = temperature(run)
        self.assertGreaterEqual(before["env_steps"], 2000)
        self.assertGreater(before["updates"], 0)
        items = stored_items(run)
        checkpoint = run.checkpoints()[-1].name
        code, output = headrace("top", str(run.path))
        self.assertEqual(code, 0, output)
        self.assert_mentions(output, "not running, and not at its end", f"goes on with         tools/headrace run {PENDULUM}")

        code, output = run.to_end()
        self.assertEqual(code, 0)
        self.assert_mentions(output, f"goes on; its newest checkpoint is {checkpoint}")
        self.assertIn(
            f"resumed at {before['env_steps']:.0f} environment steps and {before['updates']:.0f} updates",
            run.log("learner"),
        )
        for shard in range(2):
            # Its own last one, if a batch was drawn after the learner's.
            self.assertRegex(run.log(f"replay-{shard}"), "restored from checkpoint (update|end)-")
        for actor in range(2):  # the learner calls it as the launcher does
            pid = run.pid(f"actor-{actor}")
            self.assertRegex(run.log("learner"), rf"actor {actor} joined from \S+ \(process {pid},")
        after = run.counters()
        self.assertGreaterEqual(after["env_steps"], 4000)
        self.assertGreater(after["episodes"], before["episodes"])
        self.assertGreater(after["wall_seconds"], before["wall_seconds"])
        self.assertEqual(after["learner_incarnation"], before["learner_incarnation"] + 1)
        # Every step but the last of each episode's items is kept: nothing was removed, and nothing came twice.
        self.assertGreater(stored_items(run), items)
        self.assertLessEqual(stored_items(run), after["env_steps"])
        self.assert_unbroken(run)

        # Adam's step counts are those of all updates, of both lives.
        state = load_file(run.checkpoints()[-1] / "optimizer.safetensors")
        steps = {name: float(tensor) for name, tensor in state.items() if name.endswith("/step")}
        self.assertGreater(len(steps), 0)
        self.assertEqual(set(steps.values()), {after["updates"]})

        # Adam moves a parameter by at most about its learning rate an update (3.2 times it at worst: (1 - 0.9) over
        # the root of 1 - 0.999), and the temperature is the exponential of one.
        first = next(row for row in run.progress() if row["updates"] > before["updates"])
        moved = abs(math.log(first["charts/temperature"] / temperature_before))
        self.assertLessEqual(moved, 3.2e-3 * (first["updates"] - before["updates"]))

    def test_a_killed_launcher_leaves_nothing_behind_and_the_same_command_goes_on(self) -> None:
        run = Run(self, *PARTS, "stop.env_steps=3000")
        run.start()
        run.wait_for_env_steps(1500)
        run.signal(signal.SIGKILL)
        run.wait()
        wait_until(run.is_deserted, "every process has ended")
        before = run.counters()
        self.assertGreaterEqual(before["env_steps"], 1500, "the processes drained, and the learner wrote a checkpoint")
        code, _ = run.to_end()
        self.assertEqual(code, 0)
        self.assertIn(f"resumed at {before['env_steps']:.0f} environment steps", run.log("learner"))
        self.assert_unbroken(run)

    def test_the_replay_is_spread_over_another_number_of_shards(self) -> None:
        run = Run(self, *PARTS, "stop.env_steps=1500")
        self.assertEqual(run.to_end()[0], 0)
        for shards, end in ((3, 2000), (1, 2500)):
            items = stored_items(run)
            run.overrides += [f"replay.shards={shards}", f"stop.env_steps={end}"]
            self.assertEqual(run.to_end()[0], 0)
            taken = [
                int(count)
                for shard in range(shards)
                for count in re.findall(r"(\d+) items in \d+ rows taken from checkpoint", run.log(f"replay-{shard}"))[-1:]
            ]
            self.assertEqual(sum(taken), items)
            self.assertEqual(len([count for count in taken if count > 0]), shards)
            self.assertGreater(stored_items(run), items)
            self.assertLessEqual(stored_items(run), run.counters()["env_steps"])
            self.assertNotIn("replay is of another moment", run.log("learner"))
            self.assertNotIn("are lost", run.log("learner"))
        self.assert_unbroken(run)

    def test_stop_conditions_may_be_raised_on_a_finished_run(self) -> None:
        run = Run(self, *PARTS, "stop.env_steps=1500")
        self.assertEqual(run.to_end()[0], 0)
        before = run.counters()
        run.overrides.append("stop.env_steps=2500")
        self.assertEqual(run.to_end()[0], 0)
        after = run.counters()
        self.assertGreaterEqual(after["env_steps"], 2500)
        self.assertGreater(after["updates"], before["updates"])
        self.assert_unbroken(run)


    def test_a_score_that_was_reached_may_be_raised(self) -> None:
        run = Run(self, *PARTS, "stop.env_steps=100000", "stop.score=-10000", "stop.consecutive=1")
        code, output = run.to_end()
        self.assertEqual(code, 0)
        self.assertIn("the score of -10000 is reached", run.log("learner"))
        before = run.counters()
        # A score that nothing reaches: the steps end it.
        run.overrides += ["stop.score=0", f"stop.env_steps={int(before['env_steps']) + 500}"]
        self.assertEqual(run.to_end()[0], 0)
        self.assertGreaterEqual(run.counters()["env_steps"], before["env_steps"] + 500)
        self.assertNotIn("the score of 0 is reached", run.log("learner"))

    def test_compressed_images_are_learned_from_and_spread(self) -> None:
        run = Run(
            self, "replay.compress_from_bytes=100", "environment.frame_stack=2", "replay.min_steps=200",
            "dqn.batch_size=16", "evaluation.processes=0", "stop.env_steps=600", config=BREAKOUT,
        )
        self.assertEqual(run.to_end()[0], 0)
        items = stored_items(run)
        run.overrides += ["replay.shards=2", "stop.env_steps=1000"]
        self.assertEqual(run.to_end()[0], 0)
        logs = run.log("replay-0") + run.log("replay-1")
        taken = re.findall(r"(\d+) items in \d+ rows taken from checkpoint", logs)
        self.assertEqual(sum(int(count) for count in taken), items)
        self.assertGreater(stored_items(run), items)


def stored_items(run: Run) -> int:
    """What the shards held at the newest checkpoint, as its manifest says."""
    manifest = (run.checkpoints()[-1] / "MANIFEST.textproto").read_text(encoding="utf-8")
    return sum(int(line.split(":")[1]) for line in manifest.splitlines() if line.strip().startswith("items:"))


if __name__ == "__main__":
    unittest.main()
