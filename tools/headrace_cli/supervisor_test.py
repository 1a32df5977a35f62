"""The supervisor, with children that are real processes: fake_process.py, or a line of shell."""

import os
import signal
import sys
import tempfile
import unittest
from pathlib import Path

from headrace_cli import errors
from headrace_cli.child import Child, ChildSpec
from headrace_cli.supervisor import Limits, State, Supervisor
from headrace_cli.testing.waiting import wait_until

FAKE = Path(__file__).resolve().parent / "testing" / "fake_process.py"


class SupervisorTest(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.directory = Path(temporary.name)
        self.events_file = self.directory / "events"
        self.events_file.touch()
        os.environ["FAKE_EVENTS"] = str(self.events_file)
        self.config = self.directory / "config"
        self.config.write_text("{}", encoding="utf-8")
        self.reports: list[str] = []
        self.now = 0.0

    def fake(self, name: str, kind: str, *extra: str) -> Child:
        """A child that serves until it is told to end."""
        serves = ("metrics", "health") if kind == "actor" else ("grpc", "metrics", "health")
        arguments = [str(FAKE), kind, f"--config={self.config}", *extra]
        spec = ChildSpec(name, kind, Path(sys.executable), lambda _: arguments, serves, kind == "learner")
        return Child(spec, self.directory, self.directory)

    def shell(self, name: str, script: str) -> Child:
        """A child that runs a line of shell, which ignores the launcher's flags."""
        spec = ChildSpec(name, "actor", Path("/bin/sh"), lambda _: ["-c", script, name], serves=())
        return Child(spec, self.directory, self.directory)

    def supervise(self, *stages: list[Child], limits: Limits = Limits()) -> Supervisor:
        supervisor = Supervisor(list(stages), self.reports.append, limits, clock=lambda: self.now)
        self.addCleanup(supervisor.kill_all)
        supervisor.start()
        return supervisor

    def whole_run(self) -> Supervisor:
        """A shard, a learner, an actor and an evaluator, all serving."""
        supervisor = self.supervise(
            [self.fake("replay-0", "replay")],
            [self.fake("learner", "learner")],
            [self.fake("actor-0", "actor", "--role=act"), self.fake("evaluator", "actor", "--role=evaluate")],
        )
        self.poll_until(supervisor, State.RUNNING)
        return supervisor

    def poll_until(self, supervisor: Supervisor, state: State) -> None:
        wait_until(lambda: supervisor.state in (state, State.ENDED), supervisor.poll)
        self.assertEqual(supervisor.state, state, supervisor.outcome)

    def events(self) -> list[str]:
        return self.events_file.read_text(encoding="utf-8").splitlines()

    def kill_and_wait_for_restart(self, supervisor: Supervisor, child: Child) -> None:
        attempts = child.attempts
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        wait_until(lambda: not child.running, supervisor.poll)
        supervisor.poll()
        self.now += Limits().pause
        wait_until(lambda: child.attempts > attempts and child.ready, supervisor.poll)

    def test_a_stage_starts_when_the_one_before_it_serves(self) -> None:
        self.whole_run()
        events = self.events()
        self.assertEqual(events[:2], ["replay serves", "learner serves"])
        self.assertCountEqual(events[2:], ["actor serves", "evaluator serves"])

    def test_a_killed_child_is_started_again_with_its_addresses(self) -> None:
        supervisor = self.whole_run()
        shard = supervisor.children[0]
        before = dict(shard.addresses)
        self.kill_and_wait_for_restart(supervisor, shard)
        self.assertEqual(shard.addresses, before)
        self.assertEqual(supervisor.state, State.RUNNING)
        self.assertIn("replay-0 died (killed by SIGKILL) and is started again", self.reports[0])
        self.assertNotIn("checkpoint", self.reports[0])

    def test_of_a_learner_that_died_it_is_said_where_it_goes_on(self) -> None:
        supervisor = self.whole_run()
        self.kill_and_wait_for_restart(supervisor, supervisor.stages[1][0])
        self.assertIn("is started again, from the newest checkpoint: steps and updates go back to it", self.reports[0])

    def test_three_deaths_within_a_minute_end_the_run(self) -> None:
        supervisor = self.whole_run()
        actor = supervisor.stages[2][0]
        self.kill_and_wait_for_restart(supervisor, actor)
        self.kill_and_wait_for_restart(supervisor, actor)
        assert actor.pid is not None
        os.kill(actor.pid, signal.SIGKILL)
        self.poll_until(supervisor, State.ENDED)
        assert supervisor.outcome is not None
        self.assertEqual(supervisor.outcome.exit_code, errors.FAILED)
        self.assertIn("actor-0 died 3 times within 60 s", supervisor.outcome.message)

    def test_deaths_more_than_a_minute_apart_do_not_end_the_run(self) -> None:
        supervisor = self.whole_run()
        actor = supervisor.stages[2][0]
        for _ in range(4):
            self.kill_and_wait_for_restart(supervisor, actor)
            self.now += 26.0  # two deaths within any minute
        self.assertEqual(supervisor.state, State.RUNNING)
        self.assertEqual(supervisor.restarts, 4)

    def test_a_death_before_it_serves_ends_the_run_with_the_end_of_its_log(self) -> None:
        supervisor = self.supervise([self.shell("actor-0", "seq 1 30; echo no such model >&2; exit 1")])
        self.poll_until(supervisor, State.ENDED)
        assert supervisor.outcome is not None
        self.assertEqual(supervisor.outcome.exit_code, errors.FAILED)
        self.assertIn("actor-0 ended before it served (exit code 1)", supervisor.outcome.message)
        # 20 lines: 12 to 30, and the last one.
        self.assertTrue(
            supervisor.outcome.message.endswith("\n12\n" + "\n".join(map(str, range(13, 31))) + "\nno such model")
        )

    def test_a_child_that_fails_says_why_in_the_headline(self) -> None:
        error = "2026-11-22 11:18:40.315 E actor] NOT_FOUND: no such model"
        supervisor = self.supervise([self.shell("actor-0", f"echo '{error}'; exit 1")])
        self.poll_until(supervisor, State.ENDED)
        assert supervisor.outcome is not None
        headline = supervisor.outcome.message.splitlines()[0]
        self.assertEqual(headline, "actor-0 ended before it served (exit code 1): NOT_FOUND: no such model")

    def test_errors_in_the_logs_are_reported(self) -> None:
        supervisor = self.whole_run()
        shard = supervisor.children[0]
        with shard.log.open("a", encoding="utf-8") as log:
            log.write("2026-11-22 11:18:40.315 W replay] late\n2026-11-22 11:18:40.316 E replay] cut off\n")
        supervisor.poll()
        self.assertEqual(self.reports, ["replay-0: cut off"])

    def test_what_the_outcome_says_is_not_reported_as_well(self) -> None:
        error = "2026-11-22 11:18:40.315 E learner] DATA_LOSS: nothing is usable"
        end = self.directory / "end"
        os.mkfifo(end)
        child = self.shell("actor-0", f"echo '{error}'; read line < '{end}'; exit 1")
        supervisor = self.supervise([child])
        wait_until(lambda: error in child.log_tail(), supervisor.poll)
        supervisor.poll()
        end.write_text("now\n", encoding="utf-8")
        self.poll_until(supervisor, State.ENDED)
        assert supervisor.outcome is not None
        self.assertIn("DATA_LOSS: nothing is usable", supervisor.outcome.message)
        self.assertEqual(self.reports, [])

    def test_a_child_that_neither_serves_nor_says_anything_ends_the_run(self) -> None:
        supervisor = self.supervise([self.shell("actor-0", "exec sleep 1000")], limits=Limits(ready=60))
        supervisor.poll()
        self.assertEqual(supervisor.state, State.STARTING)
        self.now = 60.5
        self.poll_until(supervisor, State.ENDED)
        assert supervisor.outcome is not None
        self.assertIn("actor-0 did not serve, and said nothing for 60 s", supervisor.outcome.message)

    def test_a_child_that_says_how_far_it_is_may_take_its_time(self) -> None:
        child = self.shell("replay-0", "exec sleep 1000")
        supervisor = self.supervise([child], limits=Limits(ready=60))
        for self.now in (50.0, 100.0, 150.0):
            with child.log.open("a", encoding="utf-8") as log:
                log.write("restoring\n")
            supervisor.poll()
            self.assertEqual(supervisor.state, State.STARTING)
        self.now = 211.0
        self.poll_until(supervisor, State.ENDED)

    def test_a_child_that_cannot_be_started_ends_the_run(self) -> None:
        spec = ChildSpec("learner", "learner", self.directory / "missing", lambda _: [])
        shard = self.fake("replay-0", "replay")
        supervisor = self.supervise([shard], [Child(spec, self.directory, self.directory)])
        self.poll_until(supervisor, State.ENDED)
        assert supervisor.outcome is not None
        self.assertEqual(supervisor.outcome.exit_code, errors.FAILED)
        self.assertIn("learner cannot be started", supervisor.outcome.message)
        self.assertIn("replay drains", self.events())

    def test_exit_code_2_ends_the_run_as_bad_usage_with_the_message(self) -> None:
        self.config.write_text('{"fake": {"refuse": "learner"}}', encoding="utf-8")
        supervisor = self.supervise([self.fake("replay-0", "replay")], [self.fake("learner", "learner")])
        self.poll_until(supervisor, State.ENDED)
        assert supervisor.outcome is not None
        self.assertEqual(supervisor.outcome.exit_code, errors.BAD_USAGE)
        self.assertIn("did you mean learner?", supervisor.outcome.message)
        self.assertFalse(any(child.running for child in supervisor.children))

    def test_exit_code_2_of_one_that_has_run_before_is_a_death_like_others(self) -> None:
        supervisor = self.whole_run()
        actor = supervisor.stages[2][0]
        good = self.config.read_text(encoding="utf-8")
        self.config.write_text('{"fake": {"refuse": "actor"}}', encoding="utf-8")
        assert actor.pid is not None
        os.kill(actor.pid, signal.SIGKILL)
        wait_until(lambda: len(self.reports) == 2, supervisor.poll)
        self.config.write_text(good, encoding="utf-8")
        self.assertIn("actor-0 died (exit code 2) and is started again in 5 s", self.reports[1])
        for _ in range(10):
            supervisor.poll()
        self.assertEqual(actor.attempts, 2, "the pause is not over")
        self.now += Limits().pause
        wait_until(lambda: actor.attempts == 3 and actor.ready, supervisor.poll)
        self.assertEqual(supervisor.state, State.RUNNING)

    def test_exit_code_2_refuses_the_run_only_until_all_have_served_for_a_while(self) -> None:
        script = """trap 'exit 2' USR1; file="${1#--ready_file=}"; echo '{}' > "$file.tmp"; mv "$file.tmp" "$file"
                    while true; do sleep 0.01; done"""
        for later, code in ((Limits().refusal, errors.BAD_USAGE), (Limits().refusal + 1, None)):
            with self.subTest(later=later):
                child = self.shell("learner", script)
                supervisor = self.supervise([child])
                self.poll_until(supervisor, State.RUNNING)
                self.now += later
                assert child.pid is not None
                os.kill(child.pid, signal.SIGUSR1)
                wait_until(lambda: supervisor.outcome is not None or supervisor.restarts > 0, supervisor.poll)
                self.assertEqual(supervisor.outcome.exit_code if supervisor.outcome else None, code)
                supervisor.kill_all()

    def test_one_that_never_serves_again_ends_the_run_however_long_it_takes_to_die(self) -> None:
        supervisor = self.whole_run()
        actor = supervisor.stages[2][0]
        self.config.write_text('{"fake": {"refuse": "actor"}}', encoding="utf-8")
        assert actor.pid is not None
        os.kill(actor.pid, signal.SIGKILL)
        wait_until(lambda: len(self.reports) == 2, supervisor.poll)
        self.now += 1000.0
        self.poll_until(supervisor, State.ENDED)
        assert supervisor.outcome is not None
        self.assertEqual(supervisor.outcome.exit_code, errors.FAILED)
        self.assertIn("actor-0 died 3 times and did not serve again (last: exit code 2)", supervisor.outcome.message)

    def test_an_interrupt_drains_actors_then_the_learner_then_the_shards(self) -> None:
        supervisor = self.whole_run()
        supervisor.interrupt()
        self.poll_until(supervisor, State.ENDED)
        assert supervisor.outcome is not None
        self.assertEqual(supervisor.outcome.exit_code, errors.INTERRUPTED)
        drained = [event for event in self.events() if event.endswith("drains")]
        self.assertCountEqual(drained[:2], ["actor drains", "evaluator drains"])
        self.assertEqual(drained[2:], ["learner drains", "replay drains"])

    def test_an_interrupt_has_failed_if_the_learner_fails_while_it_drains(self) -> None:
        self.config.write_text('{"fake": {"fail_drain": "learner"}}', encoding="utf-8")
        supervisor = self.whole_run()
        supervisor.interrupt()
        self.poll_until(supervisor, State.ENDED)
        assert supervisor.outcome is not None
        self.assertEqual(supervisor.outcome.exit_code, errors.FAILED)
        self.assertIn("learner failed while it drained (exit code 1)\nthe end of its log", supervisor.outcome.message)
        self.assertEqual(self.events()[-1], "replay drains")

    def test_an_interrupt_has_failed_if_the_learner_is_killed_before_it_has_drained(self) -> None:
        supervisor = self.whole_run()
        learner = supervisor.children[1]
        assert learner.pid is not None
        os.kill(learner.pid, signal.SIGKILL)
        supervisor.interrupt()
        self.poll_until(supervisor, State.ENDED)
        assert supervisor.outcome is not None
        self.assertEqual(supervisor.outcome.exit_code, errors.FAILED)
        self.assertIn("killed by SIGKILL", supervisor.outcome.message)

    def test_a_second_interrupt_kills_what_does_not_drain(self) -> None:
        # Ready by its own hand; deaf to SIGTERM. $1... are the launcher's flags, the ready file is the first of them.
        script = """trap '' TERM; file="${1#--ready_file=}"; echo '{}' > "$file.tmp"; mv "$file.tmp" "$file"
                    while true; do sleep 1000; done"""
        supervisor = self.supervise([self.shell("actor-0", script)])
        self.poll_until(supervisor, State.RUNNING)
        supervisor.interrupt()
        supervisor.poll()
        self.assertEqual(supervisor.state, State.DRAINING)
        supervisor.interrupt()
        self.assertEqual(supervisor.state, State.ENDED)
        self.assertFalse(supervisor.children[0].running)

    def test_the_first_interrupt_of_a_run_that_drains_by_itself_kills_nobody(self) -> None:
        script = """trap '' TERM; file="${1#--ready_file=}"; echo '{}' > "$file.tmp"; mv "$file.tmp" "$file"
                    while true; do sleep 1000; done"""
        failing = self.shell("actor-0", "exit 1")
        supervisor = self.supervise([self.shell("learner", script)], [failing])
        wait_until(lambda: supervisor.state is State.DRAINING, supervisor.poll)
        self.assertIn("actor-0 ended before it served (exit code 1); what is left drains", self.reports)
        wait_until(lambda: not failing.running and supervisor._stage == 0, supervisor.poll)
        supervisor.interrupt()
        supervisor.poll()
        self.assertEqual(supervisor.state, State.DRAINING)
        self.assertTrue(supervisor.children[0].running)
        self.assertIn("draining already", self.reports[-1])
        supervisor.interrupt()
        self.assertEqual(supervisor.state, State.ENDED)
        self.assertFalse(supervisor.children[0].running)
        assert supervisor.outcome is not None
        self.assertEqual(supervisor.outcome.exit_code, errors.FAILED)

    def test_a_child_that_does_not_drain_in_time_is_killed(self) -> None:
        script = """trap '' TERM; file="${1#--ready_file=}"; echo '{}' > "$file.tmp"; mv "$file.tmp" "$file"
                    while true; do sleep 1000; done"""
        supervisor = self.supervise([self.shell("actor-0", script)], limits=Limits(hand_in=60))
        self.poll_until(supervisor, State.RUNNING)
        supervisor.interrupt()
        supervisor.poll()
        self.now += 20
        supervisor.poll()
        supervisor.poll()
        self.now += 41
        self.poll_until(supervisor, State.ENDED)
        waited = [report for report in self.reports if "actor-0" in report]
        self.assertEqual(
            waited,
            ["waits for actor-0 to end, for 40 s more at most", "actor-0 did not end within 60 s of SIGTERM and is killed"],
        )

    def test_others_than_the_last_stage_have_more_time_to_end(self) -> None:
        script = """trap '' TERM; file="${1#--ready_file=}"; echo '{}' > "$file.tmp"; mv "$file.tmp" "$file"
                    while true; do sleep 1000; done"""
        stages = [[self.shell("learner", script)], [self.shell("actor-0", script)]]
        supervisor = self.supervise(*stages, limits=Limits(hand_in=10, drain=60))
        self.poll_until(supervisor, State.RUNNING)
        supervisor.interrupt()
        self.now += 11
        wait_until(lambda: not supervisor.children[1].running, supervisor.poll)
        self.assertIn("actor-0 did not end within 10 s of SIGTERM and is killed", self.reports)
        supervisor.poll()  # it is the learner's turn
        self.now += 59
        supervisor.poll()
        self.assertTrue(supervisor.children[0].running)
        self.now += 2
        self.poll_until(supervisor, State.ENDED)
        self.assertIn("learner did not end within 60 s of SIGTERM and is killed", self.reports)

    def test_the_run_is_done_when_the_learner_is_and_actors_leave_by_themselves(self) -> None:
        supervisor = self.whole_run()
        learner, actor, evaluator = supervisor.children[1:]
        for child in (learner, actor, evaluator):
            assert child.pid is not None
            os.kill(child.pid, signal.SIGUSR1)
        self.poll_until(supervisor, State.ENDED)
        assert supervisor.outcome is not None
        self.assertEqual(supervisor.outcome.exit_code, errors.DONE)
        self.assertEqual([event for event in self.events() if event.endswith("drains")], ["replay drains"])

    def test_an_actor_that_left_is_called_back_when_the_learner_dies_before_it_is_done(self) -> None:
        supervisor = self.whole_run()
        learner, actor = supervisor.children[1:3]
        assert actor.pid is not None
        os.kill(actor.pid, signal.SIGUSR1)
        wait_until(lambda: not actor.running, supervisor.poll)
        supervisor.poll()
        self.kill_and_wait_for_restart(supervisor, learner)
        wait_until(lambda: actor.attempts == 2 and actor.ready, supervisor.poll)

    def test_an_actor_that_leaves_after_the_learner_has_died_is_called_back_as_well(self) -> None:
        supervisor = self.whole_run()
        learner, actor = supervisor.children[1:3]
        assert learner.pid is not None and actor.pid is not None
        os.kill(learner.pid, signal.SIGKILL)
        os.kill(actor.pid, signal.SIGUSR1)
        wait_until(lambda: not learner.running and not actor.running)
        wait_until(lambda: actor.attempts == 2 and actor.ready and learner.ready, supervisor.poll)
        self.assertEqual(supervisor.state, State.RUNNING)


if __name__ == "__main__":
    unittest.main()
