"""tools/headrace as a whole, with stand-ins for the binaries: exit codes, resuming, and that nothing is left behind."""

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from headrace_cli import command_run, errors
from headrace_cli.supervisor import Outcome
from headrace_cli.testing.waiting import wait_until

PACKAGE = Path(__file__).resolve().parent
FAKE = PACKAGE / "testing" / "fake_process.py"

# All that the launcher reads of a configuration.
CONFIG: dict[str, Any] = {
    "seed": 1,
    "environment": {"name": "Pendulum-v1"},
    "actor": {"processes": 2},
    "replay": {"shards": 2, "min_steps": "1000", "capacity": "5000"},
    "evaluation": {"processes": 1},
    "stop": {"env_steps": "1000"},
}


class CommandRunTest(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.root = Path(temporary.name)
        self.events_file = self.root / "events"
        self.events_file.touch()
        for kind, path in (("replay", "replay/replay"), ("learner", "learner/learner"), ("actor", "actor/actor")):
            self.install(kind, path)
        self.install("inspect", "tools/inspect")
        self.run_directory = self.root / "run"
        # The kernel ends the processes of a killed launcher after its end, and each of them writes until then.
        self.addCleanup(lambda: wait_until(lambda: not self.living()))

    def install(self, kind: str, path: str) -> None:
        binary = self.root / "binaries" / path
        binary.parent.mkdir(parents=True, exist_ok=True)
        binary.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}" {kind} "$@"\n', encoding="utf-8")
        binary.chmod(0o755)

    def command(self, *arguments: str, fake: dict[str, Any] | None = None) -> list[str]:
        config = self.root / "task.textproto"
        config.write_text(json.dumps(CONFIG | {"fake": fake or {}}), encoding="utf-8")
        program = (
            "import pathlib, sys; from headrace_cli import main, workspace; "
            f"workspace.RUNS = pathlib.Path({str(self.root)!r}); sys.exit(main.main(sys.argv[1:]))"
        )
        return [sys.executable, "-c", program, "run", str(config), "--dir", str(self.run_directory), *arguments]

    def environment(self) -> dict[str, str]:
        return os.environ | {
            "HEADRACE_BINARIES": str(self.root / "binaries"),
            "FAKE_EVENTS": str(self.events_file),
            "PYTHONPATH": str(PACKAGE.parent),
        }

    @contextlib.contextmanager
    def prometheus_that(self, script: str) -> Iterator[None]:
        """One that serves until it is told to end; `script` is what its shell does before."""
        stand_in = f'#!/bin/sh\n{script}\nexec "{sys.executable}" "{FAKE}" prometheus "$@"\n'
        (self.root / "prometheus").write_text(stand_in, encoding="utf-8")
        (self.root / "prometheus").chmod(0o755)
        with mock.patch.dict(os.environ, {"PATH": f"{self.root}:{os.environ['PATH']}"}):
            yield

    def launch(
        self, *arguments: str, fake: dict[str, Any] | None = None, output: int = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self.command(*arguments, fake=fake),
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if process.stdout is not None:
            self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def run_to_end(self, *arguments: str, fake: dict[str, Any] | None = None) -> tuple[int, str]:
        process = self.launch(*arguments, fake=fake)
        output, _ = process.communicate()
        return process.returncode, output

    def count_events(self, text: str) -> int:
        return self.events_file.read_text(encoding="utf-8").splitlines().count(text)

    def wait_until_all_serve(self, step: Callable[[], None] = lambda: None) -> None:
        wait_until(lambda: self.count_events("evaluator serves") == 1 and self.count_events("actor serves") == 2, step)
        wait_until(lambda: all(process["running"] for process in self.processes()), step)

    def living(self) -> list[int]:
        """Processes that write to this test's events; one that is gone or about to go has no environment to read."""
        mark = f"FAKE_EVENTS={self.events_file}".encode()
        living = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (process / "environ").read_bytes():
                    living.append(int(process.name))
        return living

    def put_in_the_way(self, path: Path) -> None:
        """A directory where the running launcher writes a file; it may be writing it just now."""

        def put() -> bool:
            with contextlib.suppress(FileExistsError):
                path.mkdir()
            return path.is_dir()

        wait_until(put)

    def processes(self) -> list[dict[str, Any]]:
        return json.loads((self.run_directory / "processes.json").read_text(encoding="utf-8"))["processes"]

    def assert_nothing_left(self, pids: list[int]) -> None:
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))

    def assert_drained_in_order(self) -> None:
        drained = self.drained()
        self.assertCountEqual(drained[:3], ["actor drains", "actor drains", "evaluator drains"])
        self.assertEqual(drained[3:], ["learner drains", "replay drains", "replay drains"])

    def drained(self) -> list[str]:
        return [line for line in self.events_file.read_text(encoding="utf-8").splitlines() if "drains" in line]

    def test_a_run_ends_with_a_summary_and_a_picture(self) -> None:
        code, output = self.run_to_end(fake={"finish": True})
        self.assertEqual(code, 0, output)
        self.assertIn("run: done (1000 environment steps are done)", output)
        self.assertNotIn("warning", output)
        self.assertIn("last evaluation      -200 ± 30 over 10 episodes; best -200", output)
        self.assertIn("checkpoints/update-000000000500", output)
        self.assertTrue((self.run_directory / "plots" / "learning_curve.png").exists())
        self.assert_nothing_left([process["pid"] for process in self.processes()])

    def test_what_check_warns_of_is_said_at_the_start(self) -> None:
        output = self.run_to_end(fake={"finish": True, "warnings": ["replay.shards: some stay empty"]})[1]
        self.assertIn("warning: replay.shards: some stay empty", output)

    def test_a_finished_run_says_so_and_starts_nothing(self) -> None:
        self.run_to_end(fake={"finish": True})
        started = self.count_events("learner serves")
        code, output = self.run_to_end(fake={"finish": True})
        self.assertEqual(code, 0, output)
        self.assertIn("had finished before", output)
        self.assertEqual(self.count_events("learner serves"), started)

    def test_a_result_that_somebody_has_damaged_is_none(self) -> None:
        self.run_to_end(fake={"finish": True})
        (self.run_directory / "result.json").write_text("[]", encoding="utf-8")
        code, output = self.run_to_end(fake={"finish": True})
        self.assertEqual(code, 0, output)
        self.assertIn("goes on", output)

    def test_a_run_that_is_there_takes_no_other_networks_and_says_so(self) -> None:
        self.run_to_end(fake={"finish": True})
        (self.run_directory / "checkpoints" / "update-000000000500" / "algorithm.safetensors").touch()
        _, output = self.run_to_end("--init-from", str(self.run_directory), fake={"finish": True})
        self.assertIn(f"networks of its own: those of --init-from {self.run_directory} are not taken", output)

    def test_a_run_without_a_checkpoint_takes_other_networks_if_they_fit(self) -> None:
        self.run_to_end(fake={"finish": True})
        other, self.run_directory = self.run_directory, self.root / "another"
        (other / "checkpoints" / "update-000000000500" / "algorithm.safetensors").touch()
        self.run_to_end(fake={"finish": True})
        (self.run_directory / "result.json").unlink()
        (self.run_directory / "checkpoints" / "update-000000000500").rename(self.run_directory / "checkpoints" / "best")
        code, output = self.run_to_end("--init-from", str(other), fake={"finish": True, "misfit": True})
        self.assertEqual(code, 2, output)
        code, output = self.run_to_end("--init-from", str(other), fake={"finish": True})
        self.assertEqual(code, 0, output)
        self.assertNotIn("are not taken", output)

    def test_the_configuration_of_a_finished_run_stays_what_ran(self) -> None:
        self.run_to_end(fake={"finish": True})
        config = self.run_directory / "config.textproto"
        before = config.read_text(encoding="utf-8")
        code, output = self.run_to_end("--set", 'actor={"processes": 3}', fake={"finish": True})
        self.assertEqual(code, 0, output)
        self.assertIn("had finished before", output)
        self.assertIn("what differs from its configuration is not taken: actor.processes", output)
        self.assertEqual(config.read_text(encoding="utf-8"), before)

    def test_a_finished_run_goes_on_with_a_higher_condition_and_not_with_one_that_is_met(self) -> None:
        self.run_to_end(fake={"finish": True})
        started = self.count_events("learner serves")
        code, output = self.run_to_end("--set", 'stop={"env_steps": 900}', fake={"finish": True})
        self.assertEqual(code, 0, output)
        self.assertIn("had finished before", output)
        self.assertEqual(self.count_events("learner serves"), started)
        output = self.run_to_end("--set", 'stop={"env_steps": 2000}', fake={"finish": True})[1]
        self.assertIn("goes on", output)
        self.assertEqual(self.count_events("learner serves"), started + 1)

    def test_another_configuration_in_the_directory_is_refused_by_name(self) -> None:
        self.run_to_end(fake={"finish": True})
        code, output = self.run_to_end("--set", 'environment={"name": "Hopper-v5"}', fake={"finish": True})
        self.assertEqual(code, 2, output)
        self.assertIn("environment may not change on a resume", output)

    def test_a_wrong_override_is_bad_usage(self) -> None:
        code, output = self.run_to_end("--set", "sed=3")
        self.assertEqual(code, 2, output)
        self.assertIn("unknown field sed", output)
        self.assertFalse(self.run_directory.exists())

    def test_a_directory_that_cannot_be_made_is_bad_usage(self) -> None:
        self.run_directory.write_text("a file is in the way", encoding="utf-8")
        code, output = self.run_to_end()
        self.assertEqual(code, 2, output)
        self.assertIn("cannot be written", output)

    def test_a_run_directory_that_cannot_be_written_is_bad_usage(self) -> None:
        new = self.run_directory / "config.textproto.new"
        new.mkdir(parents=True)  # in the way
        code, output = self.run_to_end(fake={"finish": True})
        self.assertEqual(code, 2, output)
        self.assertIn(f"the run directory {self.run_directory} cannot be used: {new}: Is a directory", output)
        self.assertNotIn("Traceback", output)

    def test_a_directory_that_holds_something_else_is_bad_usage(self) -> None:
        self.run_directory.mkdir()
        (self.run_directory / "notes.txt").touch()
        code, output = self.run_to_end(fake={"finish": True})
        self.assertEqual(code, 2, output)
        self.assertIn(f"{self.run_directory} holds no run, but notes.txt: expected a directory that is empty", output)
        self.assertEqual([entry.name for entry in self.run_directory.iterdir()], ["notes.txt"])

    def test_one_run_is_not_made_among_those_of_several_seeds_nor_they_in_one(self) -> None:
        self.assertEqual(self.run_to_end("--seeds", "2", fake={"finish": True})[0], 0)
        code, output = self.run_to_end(fake={"finish": True})
        self.assertEqual(code, 2, output)
        self.assertIn("holds the runs of several seeds, seed-1, seed-2: name one, or give --seeds", output)
        self.run_directory /= "seed-1"
        code, output = self.run_to_end("--seeds", "2", fake={"finish": True})
        self.assertEqual(code, 2, output)
        self.assertIn("holds a run itself", output)

    def test_an_empty_directory_becomes_a_run_and_one_that_a_killed_launcher_began(self) -> None:
        (self.run_directory / "logs").mkdir(parents=True)
        (self.run_directory / "lock").touch()
        code, output = self.run_to_end(fake={"finish": True})
        self.assertEqual(code, 0, output)

    def test_runs_beside_each_other_need_several(self) -> None:
        code, output = self.run_to_end("--parallel", "2", fake={"finish": True})
        self.assertEqual(code, 2, output)
        self.assertIn("--parallel 2 is for several runs: expected --seeds N too", output)

    def test_an_interrupt_before_anything_is_started_is_said(self) -> None:
        inspector = self.root / "binaries" / "tools" / "inspect"
        inspector.write_text("#!/bin/sh\nkill -INT $PPID\nexec sleep 5\n", encoding="utf-8")
        code, output = self.run_to_end()
        self.assertEqual((code, output), (130, "interrupted\n"))

    def test_what_processes_log_as_errors_is_shown(self) -> None:
        code, output = self.run_to_end(fake={"finish": True, "complain": "learner"})
        self.assertEqual(code, 0, output)
        self.assertIn("run: learner: checkpoint 5 is not usable\n", output)

    def test_networks_that_are_not_there_are_bad_usage(self) -> None:
        code, output = self.run_to_end("--init-from", str(self.root))
        self.assertEqual(code, 2, output)
        self.assertIn(f"--init-from: {self.root} is not a run directory", output)
        self.assertFalse(self.run_directory.exists())

    def test_networks_that_do_not_fit_are_bad_usage_and_start_nothing(self) -> None:
        self.run_to_end(fake={"finish": True})
        other, self.run_directory = self.run_directory, self.root / "another"
        (other / "checkpoints" / "update-000000000500" / "algorithm.safetensors").touch()
        serving = self.count_events("learner serves")
        code, output = self.run_to_end("--init-from", str(other), fake={"finish": True, "misfit": True})
        self.assertEqual(code, 2, output)
        self.assertIn(f"--init-from: {other}: expected shape [3, 64], got [3, 32]", output)
        self.assertEqual(self.count_events("learner serves"), serving)
        self.assertFalse((self.run_directory / "config.textproto").exists())
        self.assertEqual(self.run_to_end("--init-from", str(other), fake={"finish": True})[0], 0)

    def test_a_refused_configuration_of_several_seeds_is_bad_usage(self) -> None:
        code, output = self.run_to_end("--seeds", "3", fake={"refuse": "learner"})
        self.assertEqual(code, 2, output)
        self.assertIn("did you mean learner?", output)
        self.assertNotIn("interrupted", output)
        self.assertIn("run/seed-3 failed: not started, because another run was refused", output)
        self.assertEqual(list(self.run_directory.glob("seed-*/config.textproto")), [], "the next ones may have another")

    def test_a_process_that_refuses_its_configuration_ends_the_run(self) -> None:
        code, output = self.run_to_end(fake={"refuse": "evaluator"})
        self.assertEqual(code, 2, output)
        self.assertIn("did you mean learner?", output)
        self.assertFalse((self.run_directory / "config.textproto").exists(), "the next run may have another")
        wait_until(lambda: not self.living())
        code, output = self.run_to_end(fake={"finish": True})
        self.assertEqual(code, 0, output)

    def test_brackets_in_what_processes_say_are_shown_as_they_are(self) -> None:
        says = "loading [error] of the [red]simulator, see [/opt/sim/lib.so]"
        code, output = self.run_to_end(fake={"refuse": "learner", "says": says})
        self.assertEqual(code, 2, output)
        self.assertIn(says, output)
        self.assertNotIn("Traceback", output)

    def test_the_configuration_with_which_something_was_learned_stays(self) -> None:
        code, output = self.run_to_end(fake={"refuse": "evaluator", "progress": True})
        self.assertEqual(code, 2, output)
        self.assertTrue((self.run_directory / "config.textproto").exists(), "the run can be resumed")

    def test_a_refused_configuration_does_not_replace_that_of_the_run(self) -> None:
        self.assertEqual(self.run_to_end(fake={"finish": True})[0], 0)
        config = self.run_directory / "config.textproto"
        before = config.read_text(encoding="utf-8")
        (self.run_directory / "result.json").unlink()  # so that it goes on
        self.assertEqual(self.run_to_end(fake={"refuse": "evaluator"})[0], 2)
        self.assertEqual(config.read_text(encoding="utf-8"), before)

    def test_an_interrupt_drains_in_order_and_exits_with_130(self) -> None:
        launcher = self.launch()
        self.wait_until_all_serve()
        pids = [process["pid"] for process in self.processes()]
        launcher.send_signal(signal.SIGINT)
        output, _ = launcher.communicate()
        self.assertEqual(launcher.returncode, 130, output)
        self.assert_drained_in_order()
        self.assert_nothing_left(pids)
        self.assertFalse((self.run_directory / "binaries").exists())

    def test_an_interrupt_while_it_drains_kills_and_draws_nothing(self) -> None:
        launcher = self.launch(fake={"linger": "evaluator", "progress": True})
        self.wait_until_all_serve()
        pids = [process["pid"] for process in self.processes()]
        launcher.send_signal(signal.SIGINT)
        wait_until(lambda: "evaluator drains" in self.drained())
        launcher.send_signal(signal.SIGINT)
        output, _ = launcher.communicate()
        self.assertEqual(launcher.returncode, 130, output)
        self.assertIn("killed; the same command goes on from the last checkpoint", output)
        self.assertNotIn("learner drains", self.drained())
        self.assertNotIn("picture", output)  # also not that there is nothing to draw yet
        self.assert_nothing_left(pids)

    def summary_after_lost_steps(self, lost: int) -> str:
        launcher = self.launch(fake={"progress": True, "lost_steps": lost})
        self.wait_until_all_serve()
        launcher.send_signal(signal.SIGINT)
        output, _ = launcher.communicate()
        return output[output.index("interrupted; the same command resumes it") :]

    def test_the_summary_says_how_many_steps_were_lost(self) -> None:
        self.assertIn("  lost steps           1,234\n", self.summary_after_lost_steps(1234))

    def test_the_summary_of_a_run_that_lost_no_steps_does_not_speak_of_them(self) -> None:
        self.assertNotIn("lost steps", self.summary_after_lost_steps(0))

    def test_an_interrupt_whose_checkpoint_failed_is_a_failure(self) -> None:
        launcher = self.launch(fake={"fail_drain": "learner"})
        self.wait_until_all_serve()
        launcher.send_signal(signal.SIGINT)
        output, _ = launcher.communicate()
        self.assertEqual(launcher.returncode, 1, output)
        self.assertIn("learner failed while it drained", output)

    def test_a_reader_that_leaves_does_not_end_the_run(self) -> None:
        launcher = self.launch()
        self.wait_until_all_serve()
        assert launcher.stdout is not None
        launcher.stdout.close()
        launcher.send_signal(signal.SIGINT)  # it says so, to nobody
        self.assertEqual(launcher.wait(), 130)
        self.assert_drained_in_order()

    def test_a_terminal_that_is_closed_does_not_end_the_run(self) -> None:
        terminal, end = os.openpty()
        os.set_blocking(terminal, False)
        launcher = self.launch(output=end)
        os.close(end)

        def read() -> None:  # a full terminal would hold up the launcher
            with contextlib.suppress(BlockingIOError):
                os.read(terminal, 1 << 16)

        self.wait_until_all_serve(read)
        os.close(terminal)
        launcher.send_signal(signal.SIGHUP)
        self.assertEqual(launcher.wait(), 130)
        self.assert_drained_in_order()

    def test_a_run_goes_on_without_what_the_launcher_cannot_write(self) -> None:
        launcher = self.launch()
        self.wait_until_all_serve()
        pid = self.processes()[-2]["pid"]
        self.put_in_the_way(self.run_directory / "processes.json.new")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.count_events("actor serves") == 3)
        launcher.send_signal(signal.SIGINT)
        output, _ = launcher.communicate()
        self.assertEqual(launcher.returncode, 130, output)
        self.assertIn("processes.json cannot be written", output)
        self.assert_drained_in_order()

    def test_a_failure_of_the_launcher_itself_drains(self) -> None:
        code, output = self.run_to_end(fake={"garble": "learner"})
        self.assertEqual(code, 1, output)
        self.assertIn("the launcher failed", output)
        self.assertIn("JSONDecodeError", output)
        self.assertEqual(self.drained(), ["learner drains", "replay drains", "replay drains"])

    def test_a_process_that_is_started_again_is_not_of_a_later_build(self) -> None:
        self.launch()
        self.wait_until_all_serve()
        learner = next(process for process in self.processes() if process["name"] == "learner")
        (self.root / "binaries" / "learner" / "learner").write_text("#!/bin/sh\nexit 7\n", encoding="utf-8")
        os.kill(learner["pid"], signal.SIGKILL)
        wait_until(lambda: self.count_events("learner serves") == 2)

    def test_a_killed_launcher_leaves_nothing_behind(self) -> None:
        launcher = self.launch()
        self.wait_until_all_serve()
        pids = [process["pid"] for process in self.processes()]
        self.assertEqual(len(pids), 6)
        launcher.kill()
        launcher.communicate()
        self.assert_nothing_left(pids)

    def test_after_a_killed_launcher_the_same_command_goes_on(self) -> None:
        launcher = self.launch()
        self.wait_until_all_serve()
        launcher.kill()
        code, output = self.run_to_end(fake={"finish": True})
        self.assertEqual(code, 0, output)

    def test_who_waits_for_the_processes_of_a_killed_launcher_can_leave(self) -> None:
        self.run_directory.mkdir()
        with (self.run_directory / "lock").open("a+") as lock:  # as one of them holds it
            fcntl.flock(lock, fcntl.LOCK_EX)
            for number in (signal.SIGINT, signal.SIGTERM):
                process = self.launch("--dir", str(self.run_directory))
                assert process.stdout is not None
                said = process.stdout.readline()
                while "waiting for the processes" not in said:
                    self.assertTrue(said, "the launcher has ended")
                    said = process.stdout.readline()
                process.send_signal(number)
                self.assertEqual(process.wait(), errors.INTERRUPTED)
        self.assertEqual(self.count_events("starts"), 0)

    def test_a_second_launcher_is_kept_out_of_the_directory(self) -> None:
        self.launch()
        self.wait_until_all_serve()
        link = self.root / ".targets" / "run.json"
        self.assertTrue(link.exists())
        code, output = self.run_to_end()
        self.assertEqual(code, 2, output)
        self.assertIn("in use by another launcher", output)
        code, output = self.run_to_end("--certificates", str(self.root))
        self.assertEqual(code, 2, output)
        self.assertTrue(link.exists(), "Prometheus still finds the run that goes on")

    def test_prometheus_finds_every_process(self) -> None:
        self.launch()
        self.wait_until_all_serve()

        def targets() -> list[dict[str, Any]]:
            return json.loads((self.run_directory / "targets.json").read_text(encoding="utf-8"))

        wait_until(lambda: len(targets()) == 6)
        jobs = sorted(target["labels"]["job"] for target in targets())
        expected = ["actor", "actor", "evaluator", "learner", "replay", "replay"]
        self.assertEqual(jobs, [f"headrace_{role}" for role in expected])
        for target in targets():  # the same in its next life, which has another port
            self.assertEqual(target["labels"]["instance"], target["labels"]["process"])

    def test_links_to_the_targets_of_runs_that_are_gone_are_removed(self) -> None:
        links = self.root / ".targets"
        links.mkdir()
        (links / "gone.json").symlink_to(self.root / "gone" / "targets.json")
        (links / "cluster.json").write_text("[]", encoding="utf-8")  # of a run by ssh
        self.run_to_end(fake={"finish": True})
        self.assertEqual([entry.name for entry in links.iterdir()], ["cluster.json"])

    def test_after_a_run_prometheus_finds_nobody(self) -> None:
        self.run_to_end(fake={"finish": True})
        self.assertEqual(json.loads((self.run_directory / "targets.json").read_text(encoding="utf-8")), [])
        self.assertEqual(list((self.root / ".targets").iterdir()), [])

    def test_targets_that_a_killed_launcher_left_are_emptied_and_reported(self) -> None:
        self.run_directory.mkdir()
        (self.run_directory / "config.textproto").write_text(json.dumps(CONFIG | {"fake": {}}), encoding="utf-8")
        stale = [{"targets": ["127.0.0.1:9"], "labels": {}}]
        (self.run_directory / "targets.json").write_text(json.dumps(stale), encoding="utf-8")
        _, output = self.run_to_end(fake={"finish": True})
        self.assertIn("targets.json names processes whose launcher was killed: it is emptied", output)

    def test_without_prometheus_installed_it_is_said_how_to_install_it(self) -> None:
        with mock.patch.dict(os.environ, {"PATH": str(self.root)}):
            code, output = self.run_to_end("--prometheus")
        self.assertEqual(code, 2, output)
        self.assertIn("--prometheus: Prometheus is not installed: `apt-get install prometheus` or", output)
        self.assertFalse(self.run_directory.exists())

    def test_a_port_that_is_no_port_is_bad_usage(self) -> None:
        for port in ("0", "-1", "99999"):
            code, output = self.run_to_end(f"--prometheus-port={port}")
            self.assertEqual(code, 2, output)
            self.assertIn(f"--prometheus-port: expected 1 to 65535, got {port}", output)

    def test_a_port_that_is_taken_is_named(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken, self.prometheus_that(":"):
            port = taken.getsockname()[1]
            code, output = self.run_to_end("--prometheus-port", str(port))
        self.assertEqual(code, 2, output)
        self.assertIn(f"--prometheus-port {port}: the port is in use: name another, or none", output)

    def test_prometheus_beside_a_finished_run_is_not_started_and_it_is_said_why(self) -> None:
        self.run_to_end(fake={"finish": True})
        with self.prometheus_that(":"):
            code, output = self.run_to_end("--prometheus", fake={"finish": True})
        self.assertEqual(code, 0, output)
        self.assertIn("--prometheus: nothing runs that it could show; with a higher stop condition", output)

    def test_a_prometheus_that_does_not_start_is_quoted(self) -> None:
        with self.prometheus_that("echo the disk is full; exit 1"):
            code, output = self.run_to_end("--prometheus")
        self.assertEqual(code, 1, output)
        self.assertIn("Prometheus does not start; its log ends with\nthe disk is full", output)
        self.assertEqual(self.events_file.read_text(encoding="utf-8"), "")

    def test_a_prometheus_that_ends_before_the_run_is_quoted_and_the_run_goes_on(self) -> None:
        # It answers once, which is when the launcher takes it for ready.
        with self.prometheus_that("export FAKE_PROMETHEUS_ANSWERS=1"):
            launcher = self.launch("--prometheus")
        assert launcher.stdout is not None
        lines = iter(launcher.stdout.readline, "")
        self.assertTrue(any("Prometheus has ended, and the run goes on without it: exit code 3" in line for line in lines))
        self.assertEqual(next(lines), "the disk is full\n")
        self.wait_until_all_serve()
        launcher.send_signal(signal.SIGINT)
        output, _ = launcher.communicate()
        self.assertEqual(launcher.returncode, 130, output)
        self.assertNotIn("Prometheus has ended", output)
        self.assert_drained_in_order()

    def test_prometheus_knows_of_all_processes_before_the_first_is_started(self) -> None:
        with self.prometheus_that(":"):
            code, output = self.run_to_end("--prometheus", "--seeds", "2", fake={"finish": True})
        self.assertEqual(code, 0, output)
        events = self.events_file.read_text(encoding="utf-8").splitlines()
        self.assertEqual(events[0], "Prometheus knows of 6", "of the first run's; the second has not begun")
        self.assertEqual(events.count("Prometheus knows of 6"), 2)
        self.assertEqual(events.count("learner serves"), 2)

    def test_prometheus_knows_of_all_seeds_that_go_on_beside_each_other(self) -> None:
        with self.prometheus_that(":"):
            code, output = self.run_to_end("--prometheus", "--seeds", "2", "--parallel", "2", fake={"finish": True})
        self.assertEqual(code, 0, output)
        events = self.events_file.read_text(encoding="utf-8").splitlines()
        self.assertEqual(set(events[: events.index("Prometheus knows of 12") + 1]), {"Prometheus knows of 12"})

    def test_what_is_over_is_shown_again_without_alarms(self) -> None:
        with self.prometheus_that(":"):
            _, output = self.run_to_end("--prometheus", fake={"finish": True})
        self.assertIn("this shows again what Prometheus has seen: prometheus --config.file=", output)
        self.assertRegex(output, r"then at http://127\.0\.0\.1:\d+/consoles/overview\.html\?range=\d+&end=\d{10}\.\d\b")
        configuration = json.loads((self.run_directory / "prometheus/prometheus.yml").read_text(encoding="utf-8"))
        self.assertEqual(set(configuration), {"global"})

    def test_an_interrupt_while_prometheus_is_waited_for_starts_nothing(self) -> None:
        with self.prometheus_that("export FAKE_PROMETHEUS_DEAF=1"):
            launcher = self.launch("--prometheus")
            assert launcher.stdout is not None
            lines = iter(launcher.stdout.readline, "")
            self.assertTrue(any("starts as soon as Prometheus knows of its processes" in line for line in lines))
            launcher.send_signal(signal.SIGINT)
            output, _ = launcher.communicate()
        self.assertEqual(launcher.returncode, 130, output)
        self.assertEqual(self.events_file.read_text(encoding="utf-8"), "")
        self.assertFalse((self.run_directory / "targets.json").exists())

    def test_after_a_start_with_prometheus_that_was_refused_the_same_command_is_not(self) -> None:
        with self.prometheus_that(":"):
            code, output = self.run_to_end("--prometheus", fake={"refuse": "learner"})
            self.assertEqual(code, 2, output)
            self.assertTrue((self.run_directory / "prometheus").is_dir())
            wait_until(lambda: not self.living())
            code, output = self.run_to_end("--prometheus", fake={"finish": True})
            self.assertEqual(code, 0, output)

    def test_an_interrupt_says_which_seeds_were_not_started(self) -> None:
        launcher = self.launch("--seeds", "2")
        wait_until(lambda: self.count_events("evaluator serves") == 1)
        launcher.send_signal(signal.SIGINT)
        output, _ = launcher.communicate()
        self.assertEqual(launcher.returncode, 130, output)
        self.assertIn("run/seed-1: interrupted; the same command resumes it", output)
        self.assertIn("run/seed-2: not started yet when interrupted", output)
        self.assertRegex(output, r"seed-1 .* not finished ")
        self.assertRegex(output, r"seed-2 .* not begun ")
        code, output = self.run_to_end("--seeds", "2", fake={"finish": True})
        self.assertEqual(code, 0, output)

    def test_one_seed_alone_has_no_interval(self) -> None:
        code, output = self.run_to_end("--seeds", "1", fake={"finish": True})
        self.assertEqual(code, 0, output)
        self.assertNotIn("interval", output)

    def test_seeds_get_directories_of_their_own_and_one_picture(self) -> None:
        code, output = self.run_to_end("--seeds", "2", "--parallel", "2", fake={"finish": True})
        self.assertEqual(code, 0, output)
        self.assertIn("mean of 2 seeds: -200, lowest to highest: -200 to -200", output)
        # Once when it ended, and once in the summary of all.
        self.assertEqual(output.count("run/seed-2: done (1000 environment steps are done)"), 2, output)
        self.assertEqual(output.count(" 2.0 s │ finished "), 2, output)
        for seed in (1, 2):
            stored = json.loads((self.run_directory / f"seed-{seed}" / "config.textproto").read_text(encoding="utf-8"))
            self.assertEqual(stored["seed"], seed)
        self.assertTrue((self.run_directory / "learning_curve.png").exists())


class InterruptedSession:
    """A run that gets a signal when it starts, and once more while it handles that."""

    def __init__(self, number: signal.Signals = signal.SIGINT) -> None:
        self.interrupts = 0
        self._number = number
        self.outcome = Outcome(errors.INTERRUPTED, "interrupted")
        self._polls = 0

    def start(self) -> None:
        os.kill(os.getpid(), self._number)

    def poll(self) -> None:
        self._polls += 1

    def interrupt(self) -> None:
        self.interrupts += 1
        if self.interrupts == 1:
            os.kill(os.getpid(), self._number)

    @property
    def ended(self) -> bool:
        return self.interrupts == 2 or self._polls == 10

    def close(self) -> None:
        pass

    def draw(self) -> None:
        pass


class InterruptTest(unittest.TestCase):
    def setUp(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self.addCleanup(signal.signal, number, signal.getsignal(number))

    # A checkpoint was once lost to `timeout`, which tells its child to end, and then the group that the child is in.
    def test_only_who_presses_control_c_again_is_impatient(self) -> None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            session = InterruptedSession(number)
            self.assertEqual(command_run._run_all([session], 1, mock.Mock(due=False), command_run._InterruptCounter()), errors.INTERRUPTED)
            self.assertEqual(session.interrupts, 1)

    def test_an_interrupt_that_comes_while_another_is_handled_is_not_lost(self) -> None:
        session = InterruptedSession()
        self.assertEqual(command_run._run_all([session], 1, mock.Mock(due=False), command_run._InterruptCounter()), errors.INTERRUPTED)
        self.assertEqual(session.interrupts, 2)


if __name__ == "__main__":
    unittest.main()
