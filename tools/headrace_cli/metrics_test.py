"""Reading Prometheus' text format."""

import math
import unittest

from headrace_cli import metrics

ANSWER = r"""# HELP headrace_actor_env_steps_total Steps.
# TYPE headrace_actor_env_steps_total counter
headrace_actor_env_steps_total{actor="0"} 1500
headrace_actor_env_steps_total{actor="1"} 1.5e+03 1700000000000
headrace_inference_latency_seconds_sum{part="queue, \"raw\""} 0.25
headrace_actor_episode_return NaN
this is no sample
headrace_replay_budget_bytes +Inf
"""


class MetricsTest(unittest.TestCase):
    def test_samples_of_one_name_are_added_up(self) -> None:
        self.assertEqual(metrics.parse(ANSWER).total("headrace_actor_env_steps_total"), 3000)

    def test_labels_are_read_with_their_escapes(self) -> None:
        (sample,) = metrics.parse(ANSWER).samples["headrace_inference_latency_seconds_sum"]
        self.assertEqual(sample.labels, {"part": 'queue, "raw"'})
        self.assertEqual(sample.value, 0.25)

    def test_a_value_that_is_no_number_is_unknown(self) -> None:
        self.assertIsNone(metrics.parse(ANSWER).total("headrace_actor_episode_return"))

    def test_a_metric_that_is_not_there_is_unknown(self) -> None:
        self.assertIsNone(metrics.parse(ANSWER).total("headrace_learner_updates_total"))

    def test_infinity_is_a_value(self) -> None:
        self.assertEqual(metrics.parse(ANSWER).total("headrace_replay_budget_bytes"), math.inf)

    def test_a_process_that_does_not_answer_is_none(self) -> None:
        # Port 1 of the loopback address: nothing listens there.
        self.assertEqual(metrics.fetch_all({"learner": "127.0.0.1:1"}), {"learner": None})


if __name__ == "__main__":
    unittest.main()
