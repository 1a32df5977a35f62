"""What limits a run, from recorded scrapes of runs that are limited by different components."""

import unittest
from collections.abc import Mapping

from headrace_cli.metrics import Labels, parse
from headrace_cli.status import Plan, Status, StatusTracker
from headrace_cli.testing.verdict_recordings import page, recordings
from headrace_cli.verdict import ADVICE, COMPONENTS, Verdict, verdict

SECONDS = 5.0


def status_of(name: str) -> Status:
    recording = recordings()[name]
    tracker = StatusTracker(Plan())
    for moment in (0, 1):
        tracker.add(moment * SECONDS, {process: parse(page(recording, process, moment)) for process in recording})
    return tracker.status()


def verdict_of(learner: Mapping[str, float], actors: Mapping[str, float]) -> Verdict | None:
    """From seconds; of the learner also by what it waited for."""

    def seconds(role: str, metric: str, labels: Labels) -> float:
        if labels:
            return learner.get(labels["what"], 0)
        short = metric.removeprefix(f"headrace_{role}_").removesuffix("_total")
        return (learner if role == "learner" else actors).get(short, 0)

    return verdict(seconds)


class RecordedVerdictTest(unittest.TestCase):
    def test_there_is_a_recording_for_each_component(self) -> None:
        self.assertLessEqual(set(COMPONENTS), set(recordings()))

    def test_each_recording_is_limited_by_what_it_is_named_after(self) -> None:
        for name in recordings():
            with self.subTest(name):
                found = status_of(name).verdict
                assert found is not None
                self.assertEqual(found.component, name.partition("-")[0])
                self.assertIn(" the run: ", found.text)
                self.assertLessEqual(sum(found.shares.values()), 1 + 1e-9)

    def test_with_central_inference_it_is_the_answers_that_are_waited_for(self) -> None:
        found = status_of("inference-central").verdict
        assert found is not None
        self.assertIn("the actors wait for actions", found.text)
        self.assertTrue(found.text.endswith(ADVICE["central inference"]))


class VerdictTest(unittest.TestCase):
    def test_the_words_have_the_evidence_and_what_to_do(self) -> None:
        found = verdict_of({"actors": 6.2, "update_seconds_sum": 3.8}, {"step_seconds": 8, "policy_seconds": 2})
        assert found is not None
        self.assertEqual(
            found.text,
            "environments limit the run: the learner waits for data 62% of the time, "
            "the actors are in their environments 80% of theirs: add actors",
        )
        # 62% for data, of which the actors' environments have 80%.
        self.assertAlmostEqual(found.shares["environment"], 0.62 * 0.8)

    def test_actors_that_wait_for_a_busy_learner_do_not_limit_it(self) -> None:
        # In synchronous rounds the actors stand still while the learner learns, 40% of the time, and it while they step.
        found = verdict_of(
            {"items": 6, "update_seconds_sum": 4}, {"step_seconds": 5, "policy_seconds": 1, "policy_wait_seconds": 4}
        )
        assert found is not None
        self.assertEqual(found.component, "environment")
        self.assertEqual(found.shares["broadcast"], 0)

    def test_actors_that_wait_while_the_learner_waits_for_them_are_held_by_what_is_between(self) -> None:
        busy = {"actors": 9, "update_seconds_sum": 1}
        blocked = verdict_of(busy, {"step_seconds": 2, "inserts_blocked_seconds": 8})
        lagging = verdict_of(busy, {"step_seconds": 2, "policy_wait_seconds": 8})
        assert blocked is not None and lagging is not None
        self.assertEqual(blocked.component, "insertion")
        self.assertEqual(lagging.component, "broadcast")
        self.assertTrue(lagging.text.startswith("the way from the actors to the learner and back limits the run"))
        self.assertTrue(lagging.text.endswith("wait for its weights 80% of theirs: " + ADVICE["answered broadcast"]))

    def test_handing_out_weights_that_nobody_waits_for_takes_the_learners_time(self) -> None:
        found = verdict_of({"publishing_seconds": 6, "update_seconds_sum": 4}, {"step_seconds": 5})
        assert found is not None
        self.assertEqual(found.component, "broadcast")
        self.assertTrue(found.text.endswith("takes the learner 60% of the time: " + ADVICE["broadcast"]))

    def test_gradients_that_actors_compute_are_updates(self) -> None:
        found = verdict_of(
            {"actors": 9, "update_seconds_sum": 1}, {"step_seconds": 2, "update_seconds": 7, "policy_wait_seconds": 1}
        )
        assert found is not None
        self.assertEqual(found.component, "update")
        self.assertTrue(found.text.startswith("the actors' gradients limit the run: the learner waits for data 90%"))
        self.assertTrue(found.text.endswith("the actors compute gradients 70% of theirs: " + ADVICE["asynchronous update"]))

    def test_start_and_end_of_a_run_do_not_count(self) -> None:
        found = verdict_of({"first_actor": 60, "evaluator": 60, "update_seconds_sum": 2}, {"step_seconds": 1})
        assert found is not None
        self.assertEqual(found.shares["update"], 1)

    def test_without_word_of_the_actors_nobody_knows_why_data_is_late(self) -> None:
        self.assertIsNone(verdict_of({"actors": 5, "update_seconds_sum": 4}, {}))
        found = verdict_of({"actors": 4, "update_seconds_sum": 5}, {})
        assert found is not None
        self.assertEqual(found.component, "update")

    def test_updates_may_limit_a_learner_that_waits_for_several_others_most_of_its_time(self) -> None:
        found = verdict_of({"actors": 4, "batch": 2, "update_seconds_sum": 4}, {"step_seconds": 5, "policy_seconds": 5})
        assert found is not None
        self.assertEqual(found.component, "update")
        self.assertIn("is at updates 40% of the time, and waits 60% of it for several others: give", found.text)

    def test_of_less_than_two_seconds_nothing_is_said(self) -> None:
        self.assertIsNone(verdict_of({"update_seconds_sum": 1.9}, {"step_seconds": 5}))
        self.assertIsNone(verdict_of({}, {}))


if __name__ == "__main__":
    unittest.main()
