"""What people see of a run: nothing is cut, and what is unknown is no figure."""

import io
import unittest
from dataclasses import replace

from rich.console import Console

from headrace_cli.live_view import RunView, duration, number, panel, plain_line, seconds, size, wall_time
from headrace_cli.status import Plan, Status
from headrace_cli.verdict import Verdict

STATUS = Status(
    env_steps=12345678,
    env_steps_per_second=12345,
    updates=11345678,
    updates_per_second=10345,
    training_return=-1282.3,
    actors_policy_lag=21,
    sampled_age=345678,
    samples_per_insert=86.5,
    stored_items=999999,
    stored_bytes=1023 << 20,
    budget_bytes=1024 << 20,
    prefetched_batches=3,
    unacknowledged_bytes=10234,
    batch_wait_share=1,
    batch_wait_seconds=0.000123,
    update_seconds=0.0034,
    evaluation={"mean_return": -1234, "env_steps": 12000000},
    waiting="the learner waits for the replay shards: none is connected",
)
FIGURES = (
    "12,345,678 (12,345/s)",
    "11,345,678 (10,345/s)",
    "-1,282",
    "-1,234 at 12,000,000 steps",
    "21 updates",
    "345,678 updates",
    "999,999 of 1,000,000 items",
    "1023 MiB of 1 GiB",
    "100% of the time, 123 us each",
    "3.4 ms",
    "86.5",
    "9.99 KiB",
    "20,000,000",
    "1 h 00 min",
    "-180",
)
RUN = RunView(
    name="half_cheetah_sac/seed-3",
    state="running",
    plan=Plan(stop_env_steps=20000000, stop_seconds=3600, stop_score=-180, capacity=1000000),
    status=STATUS,
    elapsed_seconds=3599,
    restarts=2,
)


def drawn(run: RunView, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as capture:
        console.print(panel(run, console))
    return capture.get()


def with_lost_steps(lost: float) -> RunView:
    return replace(RUN, status=replace(STATUS, lost_steps=lost))


class PanelTest(unittest.TestCase):
    def test_nothing_is_cut(self) -> None:
        for width in (60, 80, 100, 120, 200):
            with self.subTest(width):
                text = drawn(RUN, width)
                self.assertNotIn("…", text)
                for figure in FIGURES:
                    self.assertIn(f" {figure} ", text)
                self.assertIn("half_cheetah_sac/seed-3: running, 59 min 59 s", text)

    def test_figures_are_beside_each_other_where_there_is_room(self) -> None:
        def lines_with_updates(width: int) -> list[str]:
            return [line for line in drawn(RUN, width).splitlines() if "12,345/s" in line or "10,345/s" in line]

        self.assertEqual(len(lines_with_updates(80)), 2)
        self.assertEqual(len(lines_with_updates(120)), 1)

    def test_lost_steps_are_shown_where_there_are_any(self) -> None:
        for width in (80, 120):
            self.assertRegex(drawn(with_lost_steps(1234), width), r" lost steps +1,234 ")
            self.assertEqual(drawn(with_lost_steps(0), width), drawn(RUN, width))

    def test_a_run_ends_by_the_time_of_all_its_starts(self) -> None:
        def bar(earlier: float, elapsed: float) -> str:
            run = replace(RUN, earlier_seconds=earlier, elapsed_seconds=elapsed)
            return next(line for line in drawn(run, 120).splitlines() if "ends after" in line)

        self.assertEqual(bar(1200, 600), bar(0, 1800))
        self.assertNotEqual(bar(0, 600), bar(0, 1800))

    def test_a_panel_keeps_its_width(self) -> None:
        def width(run: RunView) -> int:
            return len(drawn(run, 200).splitlines()[0])

        self.assertEqual(width(replace(RUN, status=Status())), width(RUN))

    def test_the_time_of_earlier_starts_is_shown_beside_that_of_this_one(self) -> None:
        run = replace(RUN, earlier_seconds=123.4, elapsed_seconds=5)
        for width in (80, 200):
            self.assertIn("half_cheetah_sac/seed-3: running, 5 s (+ 2 min 03 s before)", drawn(run, width))
        self.assertIn(" | running | 5 s (+ 2 min 03 s before) | ", plain_line(run))

    def test_what_limits_the_run_is_said_while_nothing_stands_still(self) -> None:
        limited = Verdict("update", text="updates limit the run: the learner is at updates 91% of the time: get a GPU")
        status = replace(STATUS, verdict=limited)
        self.assertNotIn("updates limit the run", drawn(replace(RUN, status=status), 120))
        status = replace(status, waiting="")
        self.assertIn("updates limit the run: the learner is at updates 91%", drawn(replace(RUN, status=status), 120))
        self.assertNotIn("updates limit", drawn(replace(RUN, status=status, state="draining"), 120))
        self.assertTrue(plain_line(replace(RUN, status=status)).endswith(" | limited by update"))


class PlainLineTest(unittest.TestCase):
    def test_all_figures_are_in_one_line(self) -> None:
        self.assertEqual(
            plain_line(RUN),
            "half_cheetah_sac/seed-3 | running | 59 min 59 s | env steps 12,345,678 (12,345/s) | "
            "updates 11,345,678 (10,345/s) | return -1,282 | evaluation -1,234 at 12,000,000 steps | "
            "policy lag of actors 21 updates | age of sampled data 345,678 updates | samples per insert 86.5 | "
            "replay 999,999 of 1,000,000 items | restarts 2 | "
            "the learner waits for the replay shards: none is connected",
        )

    def test_dropped_steps_are_shown_where_there_are_any(self) -> None:
        run = replace(RUN, status=replace(STATUS, dropped_steps=567))
        self.assertIn(" | dropped steps 567 | ", plain_line(run))
        self.assertRegex(drawn(run, 100), r" dropped steps +567 ")

    def test_lost_steps_are_shown_where_there_are_any(self) -> None:
        self.assertIn(" | restarts 2 | lost steps 1,234 | the learner waits", plain_line(with_lost_steps(1234)))
        self.assertEqual(plain_line(with_lost_steps(0)), plain_line(RUN))

    def test_actors_that_are_held_back_are_shown_where_there_are_any(self) -> None:
        held = replace(RUN, status=replace(STATUS, held_back_actors=2.0))
        self.assertIn(" | actors held back 2 | ", plain_line(held))
        self.assertRegex(drawn(held, 120), r" actors held back +2 ")
        none = replace(RUN, status=replace(STATUS, held_back_actors=0.0))
        self.assertEqual(plain_line(none), plain_line(RUN))

    def test_before_anything_is_known_there_are_no_figures(self) -> None:
        line = plain_line(RunView("pendulum", "starting", Plan(capacity=1000), Status(), elapsed_seconds=3))
        self.assertEqual(line, "pendulum | starting | 3 s")

    def test_what_is_unknown_is_a_dash_without_a_unit(self) -> None:
        status = Status(env_steps=100)
        line = plain_line(RunView("pendulum", "running", Plan(capacity=1000), status, elapsed_seconds=3))
        self.assertEqual(
            line,
            "pendulum | running | 3 s | env steps 100 | updates – | return – | evaluation – | "
            "policy lag of actors – | age of sampled data – | samples per insert – | replay –",
        )

    def test_a_run_without_replay_tells_of_its_gradients_instead(self) -> None:
        run = RunView("cart", "running", Plan(replay=False), Status(env_steps=9.0, sampled_age=7.0), elapsed_seconds=3)
        self.assertIn("staleness of gradients 7 updates", plain_line(run))
        self.assertNotIn("replay", plain_line(run))

    def test_a_queue_is_not_measured_against_the_capacity_of_replay(self) -> None:
        run = RunView("cart", "running", Plan(capacity=1000, queue=True), Status(stored_items=7), elapsed_seconds=3)
        self.assertIn("replay 7 items in the queue", plain_line(run))


class FiguresTest(unittest.TestCase):
    def test_numbers_are_readable(self) -> None:
        self.assertEqual([number(1234567), number(0.12345), number(-152.4)], ["1,234,567", "0.123", "-152"])
        self.assertEqual([seconds(2), seconds(0.0025), seconds(0.0000012)], ["2 s", "2.5 ms", "1.2 us"])
        self.assertEqual([duration(59.9), duration(123), duration(3720)], ["59 s", "2 min 03 s", "1 h 02 min"])
        self.assertEqual([wall_time(4.21), wall_time(59.9), wall_time(123)], ["4.2 s", "59 s", "2 min 03 s"])
        self.assertEqual([size(512), size(67108864)], ["512 B", "64 MiB"])


if __name__ == "__main__":
    unittest.main()
