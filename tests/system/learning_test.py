"""A run from its first step to its picture, and every command that looks at it."""

import csv
import json
import unittest
from typing import Any

from run import PENDULUM, Run, SystemTest, headrace
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

PNG = b"\x89PNG\r\n\x1a\n"


def targets_of(run: Run) -> list[dict[str, Any]]:
    path = run.path / "targets.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


class LearningTest(SystemTest):
    def test_a_pendulum_is_learned_and_the_run_directory_is_complete(self) -> None:
        run = Run(self, "evaluation.episodes=20")
        run.start()
        self.check_targets(run)
        code, output = run.wait()
        self.assertEqual(code, 0)
        last = run.evaluations()[-1]
        self.assertGreaterEqual(last["mean_return"], -200)
        self.assertEqual(last["episodes"], 20)
        self.assertTrue(run.is_deserted())
        self.assertEqual(
            set(run.processes()), {"replay-0", "replay-1", "learner", "actor-0", "actor-1", "evaluator"}
        )
        self.check_files(run)
        self.check_scalars(run)
        self.check_commands(run)
        self.check_the_same_command_again(run)
        self.check_another_configuration(run)

    def check_targets(self, run: Run) -> None:
        with self.subTest("targets"):
            run.wait_until(lambda: len(targets_of(run)) == 6, "Prometheus is told of all processes")
            for target in targets_of(run):
                self.assertRegex(target["targets"][0], r"^127\.0\.0\.1:\d+$")
                self.assertRegex(target["labels"]["job"], r"^headrace_(actor|evaluator|learner|replay)$")

    def check_files(self, run: Run) -> None:
        with self.subTest("files"):
            header = next(csv.reader((run.path / "evaluations.csv").open(encoding="utf-8")))
            self.assertEqual(
                header, ["env_steps", "wall_seconds", "updates", "mean_return", "std_return", "mean_length", "episodes"]
            )
            metadata = json.loads((run.path / "metadata.json").read_text(encoding="utf-8"))
            self.assertEqual(metadata["seed"], 1)
            self.assertEqual(metadata["earlier_starts"], [])
            self.assertIn("pendulum_sac.textproto", " ".join(metadata["command_line"]))
            self.assertIn("version", metadata)
            self.assertGreater(metadata["machine"]["cores"], 0)
            self.assertEqual(targets_of(run), [], "nothing is left to be scraped")
            self.assertTrue((run.path / "plots" / "learning_curve.png").read_bytes().startswith(PNG))
            self.assertIn('name: "Pendulum-v1"', (run.path / "config.textproto").read_text(encoding="utf-8"))
            for process in run.processes():
                self.assertIn("ready", run.log(process))
            checkpoint = run.checkpoints()[-1]
            for name in ("policy.safetensors", "algorithm.safetensors", "optimizer.safetensors", "MANIFEST.textproto"):
                self.assertTrue((checkpoint / name).exists(), name)
            self.assertTrue((run.path / "checkpoints" / "best" / "policy.safetensors").exists())
            self.assertEqual(sorted(run.path.glob(".*")), [], "ready files are gone")

    def check_scalars(self, run: Run) -> None:
        with self.subTest("TensorBoard"):
            events = EventAccumulator(str(run.path / "tb"))
            events.Reload()
            tags = set(events.Tags()["scalars"])
            wanted = {"rollout/ep_rew_mean", "eval/mean_reward", "charts/SPS", "losses/critic", "losses/actor"}
            self.assertLessEqual(wanted, tags)
            evaluations = run.evaluations()
            written = [(event.step, event.value) for event in events.Scalars("eval/mean_reward")]
            self.assertEqual([step for step, _ in written], [row["env_steps"] for row in evaluations])
            for (_, value), row in zip(written, evaluations, strict=True):
                self.assertAlmostEqual(value, row["mean_return"], delta=1e-3)

    def check_commands(self, run: Run) -> None:
        for which in ("best", "latest", str(int(run.counters()["updates"]))):
            with self.subTest(f"eval {which}"):
                code, output = headrace("eval", str(run.path), "--checkpoint", which, "--episodes", "3")
                self.assertEqual(code, 0, output)
                self.assert_mentions(output, "3 episodes", "return", "length")
        with self.subTest("eval in another environment"):
            code, output = headrace("eval", str(run.path), "--episodes", "3", "--environment", "Pendulum-v1")
            self.assertEqual(code, 0, output)
            code, output = headrace("eval", str(run.path), "--environment", "MountainCarContinuous-v0")
            self.assertEqual(code, 2, output)
            self.assert_mentions(output, "expected", "got", "[")
        with self.subTest("eval of a checkpoint that is not there"):
            code, output = headrace("eval", str(run.path), "--checkpoint", "7")
            self.assertEqual(code, 2, output)
            self.assert_mentions(output, "no checkpoint '7'", str(int(run.counters()["updates"])))
        with self.subTest("top"):
            code, output = headrace("top", str(run.path))
            self.assertEqual(code, 0, output)
            self.assert_mentions(output, "last evaluation")
        with self.subTest("plot"):
            picture = run.path / "plots" / "learning_curve.png"
            picture.unlink()
            code, output = headrace("plot", str(run.path))
            self.assertEqual(code, 0, output)
            self.assertIn(".png", output)

    def check_the_same_command_again(self, run: Run) -> None:
        with self.subTest("again"):
            starts = run.log("learner").count("=====")
            code, output = run.to_end()
            self.assertEqual(code, 0)
            self.assert_mentions(output, "had finished before")
            self.assertEqual(run.log("learner").count("====="), starts)

    def check_another_configuration(self, run: Run) -> None:
        with self.subTest("another configuration"):
            before = (run.path / "config.textproto").read_bytes()
            run.overrides.append("sac.discount=0.5")
            code, output = run.to_end()
            self.assertEqual(code, 2)
            self.assert_mentions(output, "sac.discount", "0.5", "0.99")
            self.assertEqual((run.path / "config.textproto").read_bytes(), before)

    def test_check_and_list_start_nothing(self) -> None:
        code, output = headrace("check", str(PENDULUM))
        self.assertEqual(code, 0, output)
        self.assert_mentions(output.lower(), "memory", "disk", "network")
        code, output = headrace("list")
        self.assertEqual(code, 0, output)
        self.assert_mentions(output, "sac", "Pendulum-v1", "HalfCheetah-v5", "uniform", "REPLAY")


if __name__ == "__main__":
    unittest.main()
