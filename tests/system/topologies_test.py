"""Cart-poles in every topology: they are balanced, also when processes are killed in mid-run."""

import signal
import unittest
from pathlib import Path

from run import Run, SystemTest

CONFIGURATIONS = Path("deploy/run").absolute()
# Far above what an untrained policy scores, below what is aimed at: what was learned is kept in spite of kills.
LEARNED = 195.0


class TopologiesTest(SystemTest):
    def start(self, name: str, *overrides: str) -> Run:
        """A run without an end of its own: it must not be over before all have been killed."""
        endless = ("stop.score=", "stop.env_steps=1000000000000")
        run = Run(
            self, *endless, "checkpoint.interval_seconds=0.5", "evaluation.episodes=20", *overrides,
            config=CONFIGURATIONS / f"{name}.textproto",
        )
        run.start()
        run.wait_for_env_steps(4000)
        return run

    def kill_one_after_the_other(self, run: Run, *names: str) -> None:
        for name in names:
            run.wait_for_env_steps(run.metric("learner", "headrace_learner_run_env_steps") or 0)
            run.wait_until(lambda name=name: bool(run.processes()[name]["addresses"]), f"{name} serves")
            run.kill_process(name)
            run.wait_until(lambda name=name: run.processes()[name]["attempts"] == 2, f"{name} is started again")
            updates = run.metric("learner", "headrace_learner_run_updates") or 0
            run.wait_for_metric("learner", "headrace_learner_run_updates", updates + 20)

    def assert_learns(self, run: Run) -> None:
        since = run.metric("learner", "headrace_learner_run_env_steps") or 0

        def learned() -> bool:
            return any(row["env_steps"] > since and row["mean_return"] >= LEARNED for row in run.evaluations())

        run.wait_until(learned, "it has learned")
        run.signal(signal.SIGINT)
        self.assertEqual(run.wait()[0], 130)
        self.assertTrue(run.is_deserted())

    def test_rounds_are_learned_from_and_go_on_when_processes_die(self) -> None:
        run = self.start("cartpole_ppo", "learner.log_interval_seconds=0.1")
        self.kill_one_after_the_other(run, "actor-0", "learner", "replay-0", "actor-1")
        self.assert_learns(run)
        # Every step of a round is of the policy that it meets.
        self.assertEqual(run.progress()[-1]["charts/policy_lag_updates"], 0)

    def test_a_queue_is_learned_from_and_goes_on_when_processes_die(self) -> None:
        run = self.start("cartpole_impala", "replay.shards=2", "environment.frame_stack=2")
        self.kill_one_after_the_other(run, "actor-0", "learner", "replay-0", "actor-1")
        self.assert_learns(run)

    def test_actors_without_networks_learn_and_go_on_when_processes_die(self) -> None:
        run = self.start("cartpole_ga3c", "environment.frame_stack=2")
        self.kill_one_after_the_other(run, "actor-0", "learner", "replay-0", "actor-1")
        self.assert_learns(run)

    def test_central_inference_is_tuned_while_it_learns(self) -> None:
        """Actors are held back and let in, threads come and go; one of the actors dies, and the run still ends."""
        run = self.start(
            "cartpole_ga3c", "actor.processes=4", "actor.environments=2", "inference.threads=2",
            "inference.trial_seconds=0.1", "evaluation.processes=0",
        )
        trials = "headrace_inference_trials_total"
        run.wait_for_metric("learner", "headrace_inference_held_back", 1)
        run.wait_for_metric("learner", trials, 4)
        self.kill_one_after_the_other(run, "actor-0")
        scrape = run.wait_for_metric("learner", trials, (run.metric("learner", trials) or 0) + 2)
        self.assertGreater(scrape.total("headrace_inference_rollbacks_total") or 0, 0)
        updates = run.metric("learner", "headrace_learner_run_updates") or 0
        run.wait_for_metric("learner", "headrace_learner_run_updates", updates + 20)
        run.signal(signal.SIGINT)
        self.assertEqual(run.wait()[0], 130)
        self.assertTrue(run.is_deserted())
        # Frozen, and to its end.
        steps = run.counters()["env_steps"]
        run.overrides += ["inference.autotune=false", f"stop.env_steps={steps + 1000:.0f}"]
        code, _ = run.to_end()
        self.assertEqual(code, 0)
        self.assertGreaterEqual(run.counters()["env_steps"], steps + 1000)

    def test_actors_that_learn_by_themselves_go_on_when_processes_die(self) -> None:
        run = self.start("cartpole_a3c")
        self.kill_one_after_the_other(run, "actor-0", "learner", "actor-1")
        self.assert_learns(run)


if __name__ == "__main__":
    unittest.main()
