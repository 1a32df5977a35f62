"""Rates and explanations computed from metrics at two times."""

import unittest

from headrace_cli.metrics import parse
from headrace_cli.status import Plan, Status, StatusTracker, plan_of


def status_of(*times: tuple[float, dict[str, str]], plan: Plan = Plan()) -> Status:
    """Of answers in Prometheus' format at some times."""
    tracker = StatusTracker(plan)
    for now, answers in times:
        tracker.add(now, {name: parse(text) for name, text in answers.items()})
    return tracker.status()


class StatusTest(unittest.TestCase):
    def test_rates_are_sums_over_actors(self) -> None:
        status = status_of(
            (
                10,
                {"actor-0": "headrace_actor_env_steps_total 100\n", "actor-1": "headrace_actor_env_steps_total 200\n"},
            ),
            (
                12,
                {"actor-0": "headrace_actor_env_steps_total 300\n", "actor-1": "headrace_actor_env_steps_total 500\n"},
            ),
        )
        # (200 + 300) steps in 2 s.
        self.assertEqual(status.env_steps_per_second, 250)
        self.assertEqual(status.env_steps, 800)

    def test_a_counter_that_fell_counts_from_zero(self) -> None:
        status = status_of(
            (0, {"actor-0": "headrace_actor_env_steps_total 1000\n"}),
            (4, {"actor-0": "headrace_actor_env_steps_total 80\n"}),
        )
        self.assertEqual(status.env_steps_per_second, 20)

    def test_a_counter_that_has_just_begun_has_no_rate_yet(self) -> None:
        # The learner waited for three seconds, and then did 60 updates in the rest of the fourth.
        counts = [0, 0, 0, 60, 460]
        name = "headrace_learner_updates_total"
        times = [(float(now), {"learner": f"{name} {count}\n"}) for now, count in enumerate(counts)]
        self.assertEqual(status_of(*times[:3]).updates_per_second, 0)
        self.assertIsNone(status_of(*times[:4]).updates_per_second)
        self.assertEqual(status_of(*times).updates_per_second, 400)

    def test_the_learner_knows_the_steps_of_a_resumed_run(self) -> None:
        answers = {
            "actor-0": "headrace_actor_env_steps_total 10\n",
            "learner": "headrace_learner_env_steps_total 10\nheadrace_learner_run_env_steps 5010\n",
        }
        self.assertEqual(status_of((0, answers)).env_steps, 5010)

    def test_lost_steps_are_those_that_the_learner_counts(self) -> None:
        self.assertEqual(status_of((0, {"learner": "headrace_learner_run_lost_steps 101\n"})).lost_steps, 101)

    def test_steps_of_the_run_stay_what_they_were_while_the_learner_is_away(self) -> None:
        run = "headrace_learner_run_lost_steps 101\nheadrace_learner_run_env_steps 9003\n"
        away = {"actor-0": 'headrace_actor_env_steps_total{actor="0"} 5\n'}
        status = status_of((0, {"learner": run}), (1, away))
        self.assertEqual((status.lost_steps, status.env_steps), (101, 9003))

    def test_the_policy_lag_of_actors_is_that_of_the_one_furthest_behind(self) -> None:
        learner = "headrace_learner_run_updates 1000\nheadrace_learner_policy_lag_updates 450\n"
        version = "headrace_actor_policy_version "
        status = status_of((0, {"learner": learner, "actor-0": version + "990\n", "actor-1": version + "960\n"}))
        self.assertEqual(status.actors_policy_lag, 40)
        # What is sampled from replay is older than what the actors do now.
        self.assertEqual(status.sampled_age, 450)

    def test_an_actor_that_is_held_back_is_counted_and_not_behind(self) -> None:
        answers = {
            "learner": "headrace_learner_run_updates 1000\nheadrace_inference_held_back 1\n",
            "actor-0": "headrace_actor_policy_version 990\nheadrace_actor_held_back 0\n",
            "actor-1": "headrace_actor_policy_version 10\nheadrace_actor_held_back 1\n",
        }
        status = status_of((0, answers))
        self.assertEqual(status.held_back_actors, 1)
        self.assertEqual(status.actors_policy_lag, 10)

    def test_an_actor_that_was_asked_after_the_learner_is_not_behind(self) -> None:
        learner = "headrace_learner_run_updates 1000\n"
        answers = {"learner": learner, "actor-0": "headrace_actor_policy_version 1003\n"}
        self.assertEqual(status_of((0, answers)).actors_policy_lag, 0)

    def test_an_actor_without_weights_has_no_policy_lag(self) -> None:
        learner = "headrace_learner_run_updates 1000\n"
        answers = {"learner": learner, "actor-0": "headrace_actor_policy_version Nan\n"}
        self.assertIsNone(status_of((0, answers)).actors_policy_lag)

    def test_samples_per_insert_is_over_all_shards(self) -> None:
        def shard(inserted: int, sampled: int) -> str:
            return f"headrace_replay_table_inserted_steps {inserted}\nheadrace_replay_table_sampled_steps {sampled}\n"

        status = status_of((0, {"replay-0": shard(100, 500), "replay-1": shard(300, 1100)}))
        self.assertEqual(status.samples_per_insert, 4)

    def test_old_answers_leave_the_window(self) -> None:
        steps = "headrace_actor_env_steps_total "
        times = [(float(now), {"actor-0": f"{steps}{0 if now < 50 else (now - 50) * 10}\n"}) for now in range(100)]
        self.assertEqual(status_of(*times).env_steps_per_second, 10)

    def test_at_the_end_the_actors_that_have_left_are_not_forgotten(self) -> None:
        waited = 'headrace_learner_waiting_seconds_total{what="actors"} 8\nheadrace_learner_update_seconds_sum 2\n'
        actor = "headrace_actor_step_seconds_total 9\n"
        status = status_of((0, {"learner": waited, "actor-0": actor}), (1, {"learner": waited}))
        assert status.verdict_since_start is not None
        self.assertEqual(status.verdict_since_start.component, "environment")

    def test_a_silent_process_is_named(self) -> None:
        tracker = StatusTracker(Plan())
        tracker.add(0, {"learner": None, "replay-0": parse("")})
        self.assertEqual(tracker.status().waiting, "")  # it may just have ended
        tracker.add(1, {"learner": None, "replay-0": None})
        self.assertEqual(tracker.status().waiting, "no answer from learner")

    def waiting(
        self, *, actor_steps: int = 100, inserted: int = 2000, plan: Plan = Plan(min_steps=1000), **seconds: float
    ) -> str:
        """Of a learner that in two seconds waited so many for each thing, and of an actor that made so many steps."""

        def answers(share: float) -> dict[str, str]:
            waits = (
                f'headrace_learner_waiting_seconds_total{{what="{what}"}} {10 + share * waited}\n'
                for what, waited in seconds.items()
            )
            return {
                "learner": "headrace_learner_updates_total 0\n" + "".join(waits),
                "actor-0": f"headrace_actor_env_steps_total {500 + share * actor_steps}\n",
                "replay-0": f"headrace_replay_table_inserted_steps {inserted}\n",
            }

        return status_of((0, answers(0)), (2, answers(1)), plan=plan).waiting

    def test_what_takes_most_of_the_learners_time_is_what_it_waits_for(self) -> None:
        self.assertEqual(self.waiting(first_actor=2), "the learner waits for the first actor")
        self.assertIn("the learner waits for the replay shards", self.waiting(actors=0.5, shards=1.5))
        self.assertIn("the learner waits for items", self.waiting(items=1.9))
        self.assertIn("the learner waits for batches", self.waiting(batch=1.9, actors=0.1))
        self.assertIn("as often as its samples per insert allow", self.waiting(actors=1.9))
        self.assertEqual(self.waiting(evaluator=2), "the final weights are being evaluated")

    def test_a_round_waits_for_the_actors_that_are_not_there(self) -> None:
        waiting = self.waiting(items=1.9, plan=Plan(queue=True, round_actors=3))
        self.assertEqual(waiting, "the learner waits for actors: a round needs all 3, and 1 answer")
        waiting = self.waiting(items=1.9, plan=Plan(queue=True, round_actors=1))
        self.assertEqual(waiting, "the learner waits for actors: the queue holds less than a batch")

    def waiting_after_each(self, *answers: tuple[float, int]) -> list[str]:
        """Of a learner asked each second: its wait for the first actor until then, and its updates, one a step."""
        tracker = StatusTracker(Plan())
        sentences = []
        for now, (waited, updates) in enumerate(answers):
            waits = f'headrace_learner_waiting_seconds_total{{what="first_actor"}} {waited}\n'
            counts = "".join(
                f"headrace_learner_{name} {updates}\n" for name in ("updates_total", "run_updates", "update_seconds_count")
            )
            learner = parse(f"{counts}headrace_learner_update_seconds_sum {0.001 * updates}\n{waits}")
            actor = parse(f"headrace_actor_env_steps_total {updates}\n")
            tracker.add(now, {"learner": learner, "actor-0": actor})
            sentences.append(tracker.status().waiting)
        return sentences

    def test_what_the_learner_no_longer_waits_for_is_not_said(self) -> None:
        # Four seconds of waiting were most of the window, for seconds after the actor had come.
        waiting = self.waiting_after_each((0, 500), (1, 500), (2, 500), (3, 500), (4, 500), (4, 600))
        self.assertEqual(waiting, ["", *["the learner waits for the first actor"] * 4, ""])

    def test_the_first_actor_is_not_waited_for_beside_its_steps(self) -> None:
        # It came in the last of the seconds, most of which it took to come.
        def learner(first_actor: float, actors: float) -> dict[str, str]:
            name = "headrace_learner_waiting_seconds_total"
            waits = f'{name}{{what="first_actor"}} {first_actor}\n{name}{{what="actors"}} {actors}\n'
            return {"learner": f"headrace_learner_updates_total 0\nheadrace_learner_env_steps_total 0\n{waits}"}

        waiting = [learner(1, 0), learner(2, 0)]
        self.assertEqual(status_of(*enumerate(waiting)).waiting, "the learner waits for the first actor")
        self.assertEqual(status_of(*enumerate([*waiting, learner(2.6, 0.3)])).waiting, "")

    def test_what_the_learner_begins_to_wait_for_is_said_at_once(self) -> None:
        waiting = self.waiting_after_each((0, 500), (0, 600), (0, 700), (0, 800), (0.9, 810))
        self.assertEqual(waiting, [*[""] * 4, "the learner waits for the first actor"])

    def test_a_learner_that_has_just_got_what_it_waited_for_has_time_to_use_it(self) -> None:
        # It sets up its networks, which is no waiting.
        waiting = self.waiting_after_each((0, 0), (1, 0), (2, 0), (3, 0), (3, 0))
        self.assertEqual(waiting[-2:], ["the learner waits for the first actor", ""])
        waiting = self.waiting_after_each((0, 0), (1, 0), (2, 0), *[(2, 0)] * 4)
        self.assertEqual(waiting[-1], "the learner has been at its first update since it was started for 4 s")

    def test_before_the_first_update_the_learner_waits_for_steps(self) -> None:
        waiting = self.waiting(actors=2, inserted=90)
        self.assertEqual(waiting, "the learner waits for actors: 90 of the first 1,000 steps are in replay")

    def test_actors_that_stand_still_are_what_the_learner_waits_for(self) -> None:
        self.assertIn("actors, which make no steps", self.waiting(actors=2, actor_steps=0))

    def test_a_learner_that_makes_no_updates_and_does_not_wait_is_to_be_looked_at(self) -> None:
        self.assertIn("waits for nothing: see its log", self.waiting(batch=0.1))

    def test_an_update_that_takes_long_is_no_standstill(self) -> None:
        """Actors wait for the weights of synchronous rounds, each of which is learned from for many seconds."""

        def waiting(collecting: int, end: int, most_updates: int = 10) -> str:
            """Of rounds in which the learner waits for so many seconds, then updates for ten."""
            tracker = StatusTracker(Plan())
            waited = 0
            for now in range(end + 1):
                updates = min(now // (collecting + 10), most_updates)
                waited += 0 < now % (collecting + 10) <= collecting and updates < most_updates
                learner = (
                    f"headrace_learner_updates_total {updates}\nheadrace_learner_update_seconds_count {updates}\n"
                    f"headrace_learner_update_seconds_sum {10 * updates}\n"
                    f'headrace_learner_waiting_seconds_total{{what="items"}} {waited}\n'
                )
                steps = 100 * waited if collecting else 100
                actor = parse(f"headrace_actor_env_steps_total {steps}\n")
                tracker.add(now, {"learner": parse(learner), "actor-0": actor})
            return tracker.status().waiting

        stands_still = "neither the learner nor the actors move: see their logs"
        first = "the learner has been at its first update since it was started for 8 s"
        self.assertEqual(waiting(collecting=0, end=8), first)
        self.assertEqual(waiting(collecting=0, end=310, most_updates=0), stands_still)
        at_update = "the learner has been at an update for 8 s; the others took 10 s each"
        self.assertEqual(waiting(collecting=0, end=28), at_update)
        self.assertEqual(waiting(collecting=0, end=51, most_updates=2), stands_still)
        self.assertEqual(waiting(collecting=60, end=138), at_update)

    def test_blocked_actors_wait_for_the_learner(self) -> None:
        def answers(blocked: float, updates: int) -> dict[str, str]:
            actor = f"headrace_actor_env_steps_total 100\nheadrace_actor_inserts_blocked_seconds_total {blocked}\n"
            return {"actor-0": actor, "learner": f"headrace_learner_updates_total {updates}\n"}

        status = status_of((0, answers(1, 10)), (2, answers(3, 20)))
        self.assertIn("the actors wait for replay", status.waiting)

    def test_nothing_is_explained_while_all_moves(self) -> None:
        def answers(count: int) -> dict[str, str]:
            return {
                "actor-0": f"headrace_actor_env_steps_total {count}\n",
                "learner": f"headrace_learner_updates_total {count}\n",
            }

        self.assertEqual(status_of((0, answers(10)), (1, answers(20))).waiting, "")

    def test_the_plan_reads_64_bit_integers_from_strings(self) -> None:
        plan = plan_of({"stop": {"env_steps": "20000", "score": -180.0}, "replay": {"min_steps": "1000"}})
        self.assertEqual((plan.stop_env_steps, plan.stop_score, plan.min_steps), (20000, -180.0, 1000))
        self.assertEqual(plan.stop_consecutive, 1)
        self.assertEqual(plan_of({"stop": {"score": -180.0, "consecutive": 3}}).stop_consecutive, 3)

    def test_the_plan_knows_whether_experience_is_used_once(self) -> None:
        self.assertTrue(plan_of({"experience": {"used_once": True}}).queue)
        self.assertFalse(plan_of({"experience": {"used_once": False}}).queue)

    def test_the_plan_knows_how_many_actors_a_round_needs(self) -> None:
        self.assertEqual(plan_of({"topology": "SYNCHRONOUS", "actor": {"processes": 4}}).round_actors, 4)
        self.assertEqual(plan_of({"topology": "QUEUE", "actor": {"processes": 4}}).round_actors, 0)


if __name__ == "__main__":
    unittest.main()
