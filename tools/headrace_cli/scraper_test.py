"""What is known of a run while its processes come and go."""

import threading
import unittest
from unittest import mock

from headrace_cli.csv_tail import Row
from headrace_cli.metrics import parse
from headrace_cli.scraper import Scraper
from headrace_cli.status import Answers, Plan


class ScraperTest(unittest.TestCase):
    def setUp(self) -> None:
        self.answers: Answers = {}
        self.evaluation: Row | None = None
        self.scraper = Scraper(Plan(), dict, lambda: self.evaluation, fetch=lambda _: self.answers)

    def ask(self, **answers: str) -> None:
        self.answers = {name: parse(text) for name, text in answers.items()}
        self.scraper.ask()

    def test_of_a_run_that_is_leaving_the_learners_last_figures_hold(self) -> None:
        learner = "headrace_learner_run_updates 500\nheadrace_learner_run_env_steps 1000\n"
        replay = "headrace_replay_stored_items 900\n"
        self.ask(learner=learner, replay=replay)
        for _ in range(2):
            self.ask(replay=replay)
        for state in ("leaving", "draining", "ended"):
            status = self.scraper.status_in(state)
            self.assertEqual((status.updates, status.env_steps), (500, 1000))
        self.assertEqual(self.scraper.last_with_learner.updates, 500)

    def test_what_is_waited_for_while_the_run_drains_does_not_limit_it(self) -> None:
        busy = "headrace_learner_run_updates 500\nheadrace_learner_update_seconds_sum 60\n"
        hung = 'headrace_learner_waiting_seconds_total{what="items"} 600\n'
        actor = "headrace_actor_step_seconds_total 20\n"
        self.ask(learner=busy, actor=actor)
        self.scraper.hold_verdict()
        self.ask(learner=busy + hung, actor=actor)
        verdict = self.scraper.last_with_learner.verdict_since_start
        assert verdict is not None
        self.assertEqual(verdict.component, "update")

    def test_an_evaluation_is_shown_with_the_steps_of_its_time(self) -> None:
        self.evaluation = {"env_steps": 4000}
        self.ask(learner="headrace_learner_run_updates 500\nheadrace_learner_run_env_steps 4900\n")
        self.evaluation = {"env_steps": 5007}  # written between two answers
        status = self.scraper.status_in("running")
        self.assertEqual((status.env_steps, status.evaluation), (4900, {"env_steps": 4000}))
        self.ask(learner="headrace_learner_run_updates 500\nheadrace_learner_run_env_steps 5300\n")
        status = self.scraper.status_in("running")
        self.assertEqual((status.env_steps, status.evaluation), (5300, {"env_steps": 5007}))

    def test_an_evaluation_that_is_written_during_the_answers_waits_for_the_next(self) -> None:
        def fetch(_: object) -> Answers:
            self.evaluation = {"env_steps": 5007}
            return {"learner": parse("headrace_learner_run_updates 500\n")}

        scraper = Scraper(Plan(), dict, lambda: self.evaluation, fetch)
        scraper.ask()
        self.assertIsNone(scraper.status_in("running").evaluation)
        scraper.ask()
        self.assertEqual(scraper.status_in("running").evaluation, {"env_steps": 5007})

    def test_while_it_runs_a_learner_that_is_away_has_no_figures_from_the_second_time_on(self) -> None:
        self.ask(learner="headrace_learner_run_updates 500\n")
        self.ask(replay="headrace_replay_stored_items 900\n")
        self.assertEqual(self.scraper.status_in("running").updates, 500)
        self.ask(replay="headrace_replay_stored_items 900\n")
        self.assertIsNone(self.scraper.status_in("running").updates)

    def test_what_keeps_it_from_asking_is_said_once_and_it_goes_on(self) -> None:
        reports: list[str] = []
        answered = threading.Event()
        rounds = iter(range(100))

        def fetch(_: object) -> Answers:
            if next(rounds) < 2:
                raise ValueError("garbled")
            answered.set()
            return {}

        with mock.patch("headrace_cli.scraper.INTERVAL_SECONDS", 0.01):
            scraper = Scraper(Plan(), dict, lambda: None, fetch, reports.append)
            scraper.start()
            self.assertTrue(answered.wait(timeout=60))
            scraper.stop()
        self.assertEqual(reports, ["no new figures: ValueError: garbled"])


if __name__ == "__main__":
    unittest.main()
