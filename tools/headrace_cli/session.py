"""One run on this machine, from an empty or resumed directory to its summary."""

import json
import os
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace_cli import errors, inspector, security, workspace
from headrace_cli.child import Child
from headrace_cli.curves import experiment_of, load_groups
from headrace_cli.errors import CommandError, UsageError
from headrace_cli.live_view import RunView
from headrace_cli.picture import draw
from headrace_cli.run_directory import RunDirectory, read_json, read_object, started_at, write_atomically, write_json
from headrace_cli.run_plan import stages_of
from headrace_cli.scraper import Scraper
from headrace_cli.status import Plan, Status, plan_of
from headrace_cli.supervisor import Outcome, Report, State, Supervisor


@dataclass(frozen=True)
class Request:
    """What to run, as the command line says it."""

    config: Path
    overrides: list[str]
    directory: Path
    init_from: Path | None = None
    revision: str = ""  # of the sources that the binaries were built from, or why it is not known
    certificates: Path | None = None  # for connections between the processes; none: they are not encrypted


class Session:
    """`prepare`, then `start`, then `poll` until `ended`, then `close`, which must be called in any case, then `draw`.
    `announce` may come before `start`.

    Not thread-safe. The thread that calls `start` must live as long as the session does.
    """

    def __init__(self, request: Request, report: Report) -> None:
        self.directory = RunDirectory(request.directory)
        self.name = group_label_of(request.directory)
        self.finished_before = False
        self._request = request
        self._report = report
        self._config: dict[str, Any] = {}
        self._stages: list[list[Child]] = []
        self._supervisor: Supervisor | None = None
        self._scraper: Scraper | None = None
        self._started_at = 0.0  # in seconds since 1970
        self._begin = time.monotonic()  # the same moment, on the clock that nobody sets
        self._recorded = ""
        self._closed = False
        self._interrupted = False
        self._new = False  # the directory held no run before
        self._config_before = ""  # of the run that it held
        self._config_written = False
        self._rows_before = 0  # of progress
        self._seconds_before = 0.0

    def prepare(self) -> None:
        """Validates the configuration and takes the directory; starts nothing.

        UsageError: the configuration is not valid or not one that this directory can be resumed with, or the directory
        cannot be used.
        """
        try:
            self._prepare()
        except OSError as error:
            text = f"the run directory {self.directory.path} cannot be used: {errors.of_file(error)}"
            raise UsageError(text) from error

    def _prepare(self) -> None:
        if self._request.certificates:
            security.check_contents(self._request.certificates, names=["127.0.0.1"])
        resolved = inspector.resolve(self._request.config, self._request.overrides)
        self._config = inspector.as_json(self._request.config, self._request.overrides)
        self.directory.check_usable()
        self._check_init_from()
        self.directory.create_and_lock(self._say)
        self._new = not self.directory.is_run()
        self._rows_before = len(self.directory.progress_rows())
        self._seconds_before = self.directory.wall_seconds()
        if not self._new:
            self._check_resumable(resolved)
            self._config_before = self.directory.config.read_text(encoding="utf-8")
        self.finished_before = self._has_finished()
        if self.finished_before:
            self._tell_what_is_not_taken()
        else:  # what ran is what the file says
            write_atomically(self.directory.config, resolved)
            self._config_written = True
        if read_json(self.directory.targets) not in (None, []):
            self._say(f"{self.directory.targets} names processes whose launcher was killed: it is emptied")
        # Whoever scrapes what it names would find nobody, or somebody else.
        write_json(self.directory.targets, [])
        if not self.finished_before:
            self.directory.show_to_prometheus()
            workspace.copy_binaries(workspace.PROCESS_BINARIES, self.directory.binaries)

    def announce(self) -> None:
        """Tells Prometheus where the processes will serve their metrics, before any of them is started."""
        self._make_stages()
        children = [child for stage in self._stages for child in stage]
        for child in children:
            child.choose_port("metrics")
        self._write(self.directory.targets, prometheus_targets(self.name, [_record_of(child) for child in children]))

    def start(self) -> None:
        self._started_at = time.time()
        self._begin = time.monotonic()
        self.directory.result.unlink(missing_ok=True)  # of an end that it goes on from
        if not self._new:
            self._say(f"goes on; {self._newest_checkpoint()}")
        if not self._stages:
            self._make_stages()
        self._supervisor = Supervisor(self._stages, self._say)
        self._scraper = Scraper(
            self.plan, self._metrics_addresses, self.directory.last_evaluation, report=self._say
        )
        self._supervisor.start()
        self._scraper.start()

    def poll(self) -> None:
        """What goes wrong in here ends the run in order: its processes drain."""
        assert self._supervisor is not None and self._scraper is not None
        try:
            self._supervisor.poll()
            if self._supervisor.state is State.DRAINING:
                self._scraper.hold_verdict()
            self._record_processes()
        except Exception:
            self._supervisor.abort(f"the launcher failed\n{traceback.format_exc()}")

    def interrupt(self) -> None:
        self._interrupted = True
        if self._supervisor is not None:
            self._supervisor.interrupt()

    def close(self) -> None:
        """Leaves no process behind; writes the result of a run that was started. May be repeated."""
        if self._closed:
            return
        self._closed = True
        if self._supervisor is not None:
            self._supervisor.kill_all()
        if self._scraper is not None:
            self._scraper.stop()
        for stage in self._stages:
            for child in stage:
                child.give_up_ports()
        if self._supervisor is not None:
            self._record_processes()
        if self._stages:
            self._write(self.directory.targets, [])
        if self._supervisor is not None:
            self._write_result()
        self.directory.hide_from_prometheus()
        self.directory.remove_binaries()
        self._take_back_config()
        self.directory.unlock()

    def draw(self) -> None:
        """The picture of a run that was started, and not killed: that takes seconds."""
        if self._supervisor is None or self.killed or not self.directory.evaluation_rows():
            return
        try:
            draw(load_groups([str(self.directory.path)]), self.directory.picture, self.name)
        except (CommandError, OSError) as error:
            self._say(f"no picture: {error}")

    @property
    def announced(self) -> bool:
        return bool(self._stages)

    @property
    def learner_answered_at(self) -> float:
        """When it told its metrics last, by the clock; 0: it has not."""
        return self._scraper.learner_answered_at if self._scraper else 0.0

    @property
    def ended(self) -> bool:
        return self.finished_before or (self._supervisor is not None and self._supervisor.state is State.ENDED)

    @property
    def killed(self) -> bool:
        """By a second interrupt: nobody wants to wait."""
        return self._supervisor is not None and self._supervisor.killed

    @property
    def outcome(self) -> Outcome:
        """How it ended, or why it never started."""
        if self.finished_before:
            return Outcome(errors.DONE, "had finished before; with a higher stop condition it goes on")
        if self._supervisor is not None and self._supervisor.outcome is not None:
            return self._supervisor.outcome
        if self._interrupted:
            return Outcome(errors.INTERRUPTED, "interrupted" if self._supervisor else "not started yet when interrupted")
        return Outcome(errors.FAILED, "not started, because another run was refused")

    @property
    def final_status(self) -> Status:
        """The last that the learner had to say, once the run has ended."""
        return self._scraper.last_with_learner if self._scraper else Status()

    @property
    def plan(self) -> Plan:
        return plan_of(self._config)

    def view(self) -> RunView:
        supervisor = self._supervisor
        state = supervisor.state.value if supervisor else "waiting"
        return RunView(
            name=self.name,
            state=state,
            plan=self.plan,
            status=self._scraper.status_in(state) if self._scraper else Status(),
            elapsed_seconds=time.monotonic() - self._begin,
            earlier_seconds=self._seconds_before,
            restarts=supervisor.restarts if supervisor else 0,
        )

    def _say(self, message: str) -> None:
        self._report(f"{self.name}: {message}")

    def _make_stages(self) -> None:
        request = self._request
        specs = stages_of(self._config, self.directory, request.init_from, request.revision, request.certificates)
        logs, ready_files, lock = self.directory.logs, self.directory.path, self.directory.inherited_by_processes
        self._stages = [[Child(spec, logs, ready_files, lock) for spec in stage] for stage in specs]

    def _check_resumable(self, resolved: str) -> None:
        new = self.directory.path / "config.textproto.resume"
        new.write_text(resolved, encoding="utf-8")
        try:
            inspector.check_resumable(self.directory.config, new)
        except UsageError as error:
            raise UsageError(f"{self.directory.path}: {error}") from error
        finally:
            new.unlink()

    def _has_finished(self) -> bool:
        """Whether the run that the directory holds is at its end, also by the conditions that are asked for now."""
        result = read_object(self.directory.result)
        if "stop" not in result:
            return False
        if result["stop"] == self._config.get("stop"):
            return True
        plan = self.plan
        return 0 < plan.stop_env_steps <= self.directory.env_steps() or 0 < plan.stop_seconds <= self._seconds_before

    def _tell_what_is_not_taken(self) -> None:
        differing = differing_fields(inspector.as_json(self.directory.config, []), self._config)
        fields = [field for field in differing if not field.startswith("stop.")]  # they were looked at
        if fields:
            self._say(f"has finished, so that what differs from its configuration is not taken: {', '.join(fields)}")

    def _check_init_from(self) -> None:
        """Networks of another run must fit, or the learner would refuse them once everything is started."""
        other = self._request.init_from
        if other and self.directory.can_go_on():
            self._say(f"goes on with networks of its own: those of --init-from {other} are not taken")
        elif other:
            try:
                inspector.check_networks(other, self._request.config, self._request.overrides)
            except UsageError as error:
                raise UsageError(f"--init-from: {error}") from error

    def _newest_checkpoint(self) -> str:
        try:
            return f"its newest checkpoint is {self.directory.checkpoint('latest').name}"
        except UsageError:
            return "there is no checkpoint yet"

    def _metrics_addresses(self) -> Mapping[str, str]:
        assert self._supervisor is not None
        return {
            child.spec.name: child.addresses["metrics"]
            for child in self._supervisor.children
            if child.ready and child.running
        }

    def _record_processes(self) -> None:
        """processes.json for `top` and for people, targets.json for Prometheus; written only when they change."""
        assert self._supervisor is not None
        processes = [_record_of(child) for child in self._supervisor.children]
        record = {
            "state": self._supervisor.state.value,
            "launcher": {"pid": os.getpid(), "started_at": started_at(os.getpid())},
            "started_at": self._started_at,
            "earlier_seconds": self._seconds_before,
            "processes": processes,
        }
        text = json.dumps(record)
        if text == self._recorded:
            return
        self._recorded = text
        self._write(self.directory.processes, record)
        self._write(self.directory.targets, prometheus_targets(self.name, processes))

    def _write_result(self) -> None:
        """Of a finished run only: while it is there and the stop conditions are the same, nothing is left to do."""
        if self.outcome.exit_code == errors.DONE:
            wall_seconds = time.monotonic() - self._begin
            self._write(self.directory.result, {"stop": self._config.get("stop"), "wall_seconds": wall_seconds})

    def _write(self, path: Path, value: Any) -> None:
        """A run does not depend on what the launcher writes of it: a full disk may be emptied while it goes on."""
        try:
            write_json(path, value)
        except OSError as error:
            self._say(f"{path} cannot be written: {error.strerror}")

    def _take_back_config(self) -> None:
        """Of a start with which nothing was learned: the next one need not be like it."""
        refused = self._supervisor is None or self.outcome.exit_code == errors.BAD_USAGE
        if not self._config_written or not refused or len(self.directory.progress_rows()) != self._rows_before:
            return
        if self._new and self.directory.has_checkpoint():
            return
        if self._new:
            self.directory.remove_traces()
        else:
            write_atomically(self.directory.config, self._config_before)


def _record_of(child: Child) -> dict[str, Any]:
    return {
        "name": child.spec.name,
        "role": child.spec.role,
        "pid": child.pid,
        "running": child.running,
        "attempts": child.attempts,
        "addresses": child.addresses,
        "log": str(child.log),
    }


def differing_fields(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Names of the fields that two configurations do not have in common, as --set takes them."""
    fields: list[str] = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            fields += differing_fields(old, new, f"{prefix}{name}.")
        elif old != new:
            fields.append(prefix + name)
    return fields


def group_label_of(directory: Path) -> str:
    """The name a run goes by in messages and in the view: its directory's, with its experiment's if that is a seed."""
    label = experiment_of(directory).name
    return directory.name if directory.name.startswith(label) else f"{label}/{directory.name}"


def prometheus_targets(run: str, processes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Prometheus' file_sd format: one entry for each process that serves metrics.

    The instance is its name, where Prometheus would take the address: one that is started again has another port, and is
    the same in every curve. What its last life left would otherwise count beside it for five minutes.
    """
    return [
        {
            "targets": [process["addresses"]["metrics"]],
            "labels": {
                "job": f"headrace_{process['role']}",
                "process": process["name"],
                "run": run,
                "instance": process["name"],
            },
        }
        for process in processes
        if "metrics" in process["addresses"]
    ]
