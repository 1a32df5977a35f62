"""What the benchmark of topologies counts, compares, and tells the libraries."""

import sys
import unittest

sys.path[:0] = ["tools/bench/topologies", "tools/bench", "tools"]

import loads
import main
from outcome import Outcome

PPO = loads.TASKS["CartPole-v1"].rows[2]


def outcome(rate: float, score: float = 500, uses: float = 1, **more: object) -> Outcome:
    return Outcome(steps=10 * rate, seconds=10, score=score, uses=uses, **more)


def figures(outcomes: dict[str, list[Outcome]]) -> list[dict[str, object]]:
    return main.figures("topologies/CartPole-v1/QUEUE", 475, 512, outcomes)


class FiguresTest(unittest.TestCase):
    def test_only_runs_that_reach_the_score_count(self) -> None:
        # The median of 30 and 20; with the one that did not reach 475 it would be 30.
        (ours,) = figures({main.HEADRACE: [outcome(30), outcome(90, score=474), outcome(20)]})
        self.assertEqual(ours["value"], 25)
        self.assertEqual(ours["notes"]["reached"], "2 of 3")

    def test_a_row_that_reaches_it_with_no_seed_has_no_figure(self) -> None:
        ours, theirs = figures({main.HEADRACE: [outcome(90, score=100)], "rllib": [outcome(30)]})
        self.assertIsNone(ours["value"])
        self.assertIsNone(ours["ratio"])
        self.assertEqual(ours["notes"]["score"], 100)
        self.assertEqual(theirs["value"], 30)

    def test_the_reference_is_the_fastest_that_reached_the_score_with_as_many_uses(self) -> None:
        ours, *_ = figures(
            {
                main.HEADRACE: [outcome(100)],
                "rllib": [outcome(60, uses=0.8)],  # it dropped a fifth of its samples
                "sample_factory": [outcome(40)],
                "stable_baselines3": [outcome(50, score=200)],
            }
        )
        self.assertEqual((ours["reference"], ours["ratio"]), (40, 2.5))

    def test_a_side_that_failed_is_said_to_have_no_runs(self) -> None:
        ours, theirs = figures({main.HEADRACE: [outcome(90)], "rllib": []})
        self.assertEqual((theirs["value"], theirs["notes"]), (None, {"reached": "0 of 0"}))
        self.assertNotIn("reference", ours)

    def test_where_the_time_goes_begins_with_what_takes_most(self) -> None:
        shares = {"update": 0.2, "environment": 0.77, "broadcast": 0.03}
        (ours,) = figures({main.HEADRACE: [outcome(1, shares=shares, lag=2.04)]})
        self.assertEqual(ours["notes"]["time"], "environment 77%, update 20%")
        self.assertEqual(ours["notes"]["lag"], 2.0)


class LoadsTest(unittest.TestCase):
    def test_every_row_can_run_and_those_with_the_same_algorithm_have_the_same_update(self) -> None:
        for task in loads.TASKS.values():
            updates = []
            for row in task.rows:
                config = loads.Load(task, row, row.steps, seed=1).resolved()
                self.assertEqual(config["topology"], row.name.split("/")[0])
                self.assertEqual(config["environment"]["name"], task.name)
                if options := config.get("actor_critic"):
                    same = ("network", "optimizer", "discount", "lambda", "normalize_observations")
                    updates.append({name: options[name] for name in same})
                    self.assertEqual(loads.samples_per_update(config), 512)
            self.assertEqual(updates, 3 * [updates[0]])

    def test_a_library_is_told_the_sizes_of_the_configuration(self) -> None:
        # 2 actors with 4 environments and 32 steps of each make a round of 256, which is one minibatch.
        load = loads.Load(loads.TASKS["CartPole-v1"], PPO, 2000, seed=3)
        told = loads.settings_of(load, load.resolved())
        expected = {"algorithm": "ppo", "environments": 8, "samples_per_update": 256, "steps": 2000, "seed": 3}
        self.assertEqual({name: told[name] for name in expected}, expected)
        self.assertEqual(told["options"]["epochs"], 20)


if __name__ == "__main__":
    unittest.main()
