"""Keeps the processes of one run alive, and ends them in order.

Children come in stages: a stage is started when all children of the one before it serve. Stages are ended in the
opposite order, each with SIGTERM and some patience, so that actors hand in what they have, the learner then writes its
final checkpoint while the shards are still there, and the shards go last.

    STARTING -> RUNNING -> DRAINING -> ENDED        `outcome` says how it ended

A child that dies is started again with the addresses it had, at once, and the next time after a pause, in which whoever
holds its port may let go of it. The run fails if one dies before it has ever served, dies too often, or says by exit code
2, before all of them have served for a while, that its configuration is wrong. It is done when the child that completes
it exits with code 0. A drain in which that child fails has left no checkpoint, and is a failure too. What a child calls
an error in its log is reported.
"""

import enum
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from headrace_cli import errors
from headrace_cli.child import Child, describe_exit
from headrace_cli.log_lines import closing_error

Report = Callable[[str], None]


@dataclass(frozen=True)
class Limits:
    """When to give up on a child; all in seconds but `deaths`."""

    deaths: int = 3  # so many ...
    within: float = 60.0  # ... in this time, or without having served in between, end the run
    pause: float = 5.0  # before a child that has died twice so is started again
    ready: float = 60.0  # a child that does not serve yet must say something in its log in this time
    refusal: float = 60.0  # once all serve, what they were given may yet be refused in this time: it meets what they have
    # Children still running this long after the run is done are told to end: who had not reached the learner before it
    # left does not know.
    leave: float = 3.0
    # A stage that has not ended this long after SIGTERM is killed: the last one, which has little to hand in and of which
    # a simulator may hang ...
    hand_in: float = 15.0
    # ... and the others. The learner gives the shards 150 s for their part of the last checkpoints.
    drain: float = 180.0
    silent: float = 5.0  # only after so long it is said for whom it waits


@dataclass(frozen=True)
class Outcome:
    """How the run ended: an exit code of the command, and why, for people."""

    exit_code: int
    message: str


class State(enum.Enum):
    STARTING = "starting"
    RUNNING = "running"
    LEAVING = "leaving"  # the run is done; children end by themselves
    DRAINING = "draining"
    ENDED = "ended"


class Supervisor:
    """Not thread-safe; `poll` never blocks and must be called a few times a second."""

    def __init__(
        self,
        stages: list[list[Child]],
        report: Report,
        limits: Limits = Limits(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stages = stages
        self.state = State.STARTING
        self.outcome: Outcome | None = None
        self.restarts = 0
        self.killed = False  # by who was told that it drains, and would not wait
        self._drain_told = False  # who interrupts was told that it drains
        self._report = report
        self._limits = limits
        self._clock = clock
        self._stage = -1  # the last one that was started; while draining: the one that is told to end
        self._refusals_until = float("inf")  # what was given was good if it was for so long
        self._deadline = 0.0  # of LEAVING and DRAINING
        self._patience = 0.0  # how long before it the stage was told to end
        self._waits = False  # and for whom has been said
        self._deaths: dict[str, deque[float]] = {child.spec.name: deque() for child in self.children}
        self._pauses: dict[str, float] = {}  # until when children that died wait for their next start
        self._done: set[str] = set()  # children that ended because the run is over

    @property
    def children(self) -> list[Child]:
        return [child for stage in self.stages for child in stage]

    def start(self) -> None:
        self._start_stage(0)

    def poll(self) -> None:
        """Looks after everything that happened since the last call."""
        if self.state in (State.STARTING, State.RUNNING):
            self._look_after_children()
        if self.state is State.STARTING and all(child.served for child in self.stages[self._stage]):
            if self._stage + 1 < len(self.stages):
                self._start_stage(self._stage + 1)
            else:
                self.state = State.RUNNING
                self._refusals_until = self._clock() + self._limits.refusal
        elif self.state is State.LEAVING:
            self._wait_for_leaving()
        elif self.state is State.DRAINING:
            self._drain()
        self._report_errors()

    def interrupt(self) -> None:
        """Drains; called again while it drains, kills. The first call never does, though the run may drain by itself."""
        told, self._drain_told = self._drain_told, True
        if self.state is State.DRAINING and not told:
            self._report("draining already: the learner writes its last checkpoint, then the shards end (again: kill)")
        elif self.state is State.DRAINING:
            self._report("killing what is left")
            self.killed = True
            if self.outcome is not None and self.outcome.exit_code == errors.INTERRUPTED:
                self.outcome = Outcome(errors.INTERRUPTED, "killed; the same command goes on from the last checkpoint, if there is one")
            self.kill_all()
        elif self.state is State.LEAVING:
            self._end(self.outcome)
        elif self.state is not State.ENDED:
            self._report("draining: actors hand in what they have, then the learner writes a checkpoint (again: kill)")
            self._end(Outcome(errors.INTERRUPTED, "interrupted; the same command resumes it"))

    def abort(self, message: str) -> None:
        """Drains a run that cannot be looked after any longer; if not even that can be done, kills."""
        if self.state is State.DRAINING:
            self.kill_all()
        elif self.state is not State.ENDED:
            self._end(Outcome(errors.FAILED, message))

    def kill_all(self) -> None:
        """Leaves nothing behind, whatever state it is in."""
        for child in self.children:
            child.kill()
            child.forget_ready_file()
        self.state = State.ENDED

    def _report_errors(self) -> None:
        """What the processes say of errors, but for what the outcome says: it may yet be about a child that does not
        serve, so that of one nothing is said before."""
        told = self.outcome.message if self.outcome else ""
        for child in self.children:
            if not child.ready and self.outcome is None:
                continue
            for error in child.new_errors(self._clock()):
                if error not in told:
                    self._report(f"{child.spec.name}: {error}")

    def _start_stage(self, stage: int) -> None:
        self._stage = stage
        for child in self.stages[stage]:
            self._start(child)

    def _start(self, child: Child) -> None:
        if self.state not in (State.STARTING, State.RUNNING):
            return  # another one could not be started: the run is over
        addresses = {other.spec.name: other.addresses["grpc"] for other in self.children if "grpc" in other.addresses}
        try:
            child.start(addresses, self._clock())
        except OSError as error:
            self._fail(child, f"cannot be started ({error})")

    def _look_after_children(self) -> None:
        for stage in self.stages[: self._stage + 1]:
            for child in stage:
                self._look_after(child)
                if self.state not in (State.STARTING, State.RUNNING):
                    return

    def _look_after(self, child: Child) -> None:
        if child.spec.name in self._done:
            return
        if child.spec.name in self._pauses:
            if self._clock() >= self._pauses[child.spec.name]:
                del self._pauses[child.spec.name]
                self._start(child)
            return
        was_ready = child.check_ready()
        code = child.exit_code()
        if code is None:
            if not was_ready and self._clock() - child.last_word_at(self._clock()) > self._limits.ready:
                self._fail(child, f"did not serve, and said nothing for {self._limits.ready:.0f} s")
        elif code == errors.DONE and child.spec.completes_run:
            self._complete()
        elif code == errors.DONE and all(other.ready for other in self.children if other.spec.completes_run):
            self._done.add(child.spec.name)
        elif code == errors.DONE:
            self._start(child)  # it was told that the run is over just before that was no longer so
        elif child.attempts > 1 or self._clock() > self._refusals_until:
            # What it was given was good once: its port may be taken for a moment, its certificates be replaced.
            self._restart_or_fail(child, code, was_ready)
        elif code == errors.BAD_USAGE:
            self._fail(child, "refused its configuration", errors.BAD_USAGE)
        elif not was_ready:
            self._fail(child, f"ended before it served ({describe_exit(code)})")
        else:
            self._restart_or_fail(child, code, was_ready)

    def _restart_or_fail(self, child: Child, code: int, was_ready: bool) -> None:
        now = self._clock()
        deaths = self._deaths[child.spec.name]
        deaths.append(now)
        while was_ready and deaths[0] < now - self._limits.within:
            deaths.popleft()
        if len(deaths) >= self._limits.deaths:
            recent = deaths[0] >= now - self._limits.within
            since = f"within {self._limits.within:.0f} s" if recent else "and did not serve again"
            self._fail(child, f"died {len(deaths)} times {since} (last: {describe_exit(code)})")
            return
        self.restarts += 1
        pause = self._limits.pause if len(deaths) > 1 else 0.0
        when = f"started again in {pause:.0f} s" if pause else "started again"
        back = ", from the newest checkpoint: steps and updates go back to it" if child.spec.completes_run else ""
        self._report(f"{child.spec.name} died ({describe_exit(code)}) and is {when}{back}; its log: {child.log}")
        child.ready = False
        self._pauses[child.spec.name] = now + pause
        if child.spec.completes_run:
            self._recall_done()

    def _recall_done(self) -> None:
        """Children that left because they believed the run to be over are needed again: its end was not recorded."""
        for child in self.children:
            if child.spec.name in self._done:
                self._done.remove(child.spec.name)
                self._start(child)

    def _complete(self) -> None:
        self.outcome = Outcome(errors.DONE, "done")
        self.state = State.LEAVING
        self._deadline = self._clock() + self._limits.leave

    def _fail(self, child: Child, why: str, exit_code: int = errors.FAILED) -> None:
        failure = self._failure(child, why, exit_code)
        if any(other.running for other in self.children):
            self._report(f"{failure.message.splitlines()[0]}; what is left drains")
        self._end(failure)

    def _failure(self, child: Child, why: str, exit_code: int = errors.FAILED) -> Outcome:
        tail = child.log_tail()
        # One that was killed said nothing about it.
        error = closing_error(tail) if (child.exit_code() or 0) > 0 else None
        headline = f"{child.spec.name} {why}" + (f": {error}" if error else "")
        return Outcome(exit_code, f"{headline}\nthe end of its log, {child.log}:\n{tail or '(nothing)'}")

    def _wait_for_leaving(self) -> None:
        """After the last stage has left by itself, or did not in time, everything else is told to end. Who does not serve
        yet has nothing to hand in."""
        if self._clock() > self._deadline or not any(child.running and child.ready for child in self.stages[-1]):
            self._end(self.outcome)

    def _end(self, outcome: Outcome | None) -> None:
        self.outcome = outcome
        self.state = State.DRAINING
        self._terminate_stage(len(self.stages) - 1)

    def _terminate_stage(self, stage: int) -> None:
        self._stage = stage
        self._patience = self._limits.hand_in if stage == len(self.stages) - 1 else self._limits.drain
        self._deadline = self._clock() + self._patience
        self._waits = False
        for child in self.stages[stage]:
            child.terminate()

    def _drain(self) -> None:
        running = [child for child in self.stages[self._stage] if child.running]
        if not running:
            self._check_drained(self.stages[self._stage])
        left = self._deadline - self._clock()
        if running and not self._waits and 0 < left < self._patience - self._limits.silent:
            self._waits = True
            names = ", ".join(child.spec.name for child in running)
            self._report(f"waits for {names} to end, for {left:.0f} s more at most")
        if running and left < 0:
            for child in running:
                self._report(
                    f"{child.spec.name} did not end within {self._patience:.0f} s of SIGTERM and is killed"
                )
                child.kill()
        elif not running and self._stage > 0:
            self._terminate_stage(self._stage - 1)
        elif not running:
            self.kill_all()

    def _check_drained(self, stage: list[Child]) -> None:
        """An interrupted run can be resumed only if the child that completes it has written its checkpoint."""
        if self.outcome is None or self.outcome.exit_code != errors.INTERRUPTED:
            return
        for child in stage:
            code = child.exit_code()
            # One that did not serve yet had nothing to write.
            if child.spec.completes_run and child.ready and code not in (errors.DONE, errors.INTERRUPTED):
                assert code is not None
                self.outcome = self._failure(child, f"failed while it drained ({describe_exit(code)})")
