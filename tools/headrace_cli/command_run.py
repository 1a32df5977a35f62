"""Trains with all processes on this machine.

Starts replay shards, a learner, actors and an evaluator, starts again what dies, and shows how the run goes. The same
command again resumes the run in its directory. Ctrl-C drains and leaves a checkpoint; Ctrl-C again kills, and
draws no picture.

  tools/headrace run deploy/run/pendulum_sac.textproto
  tools/headrace run deploy/run/pendulum_sac.textproto --set sac.batch_size=256 --dir runs/large
  tools/headrace run deploy/run/pendulum_sac.textproto --seeds 5 --parallel 2
  tools/headrace run deploy/run/pendulum_sac.textproto --prometheus    # with curves in a browser
"""

import argparse
import shlex
import signal
import time
from contextlib import nullcontext
from pathlib import Path

from headrace_cli import errors, inspector, security, workspace
from headrace_cli.errors import UsageError
from headrace_cli.live_view import View
from headrace_cli.output import lasting_console
from headrace_cli.prometheus import Prometheus, check_usable
from headrace_cli.run_directory import RunDirectory, check_has_networks
from headrace_cli.seeds import finish_seeds
from headrace_cli.session import Request, Session
from headrace_cli.summary import end_line, summary_lines

POLL_SECONDS = 0.05


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG", help="a configuration, as in deploy/run/")
    inspector.add_overrides(parser)
    parser.add_argument("--dir", type=Path, help="the run directory; default: runs/CONFIG-seedN, with --seeds runs/CONFIG")
    parser.add_argument(
        "--seeds", type=int, metavar="N", help="N runs, with seed, seed + 1, ..., in DIR/seed-S"
    )
    parser.add_argument("--seed", metavar="S", help=argparse.SUPPRESS)  # for those who know it from `eval`
    parser.add_argument("--parallel", type=int, metavar="K", help="with --seeds: K runs beside each other; default: 1")
    parser.add_argument(
        "--init-from", type=Path, metavar="DIR", help="start from the networks of this run directory or checkpoint"
    )
    security.add_argument(parser)
    parser.add_argument(
        "--prometheus", action="store_true", help="start the installed Prometheus beside the run, and print its address"
    )
    parser.add_argument(
        "--prometheus-port", type=int, metavar="PORT", help="the same, on this port of this machine; default: a free one"
    )
    parser.add_argument("--no-build", action="store_true", help="use the binaries as they are")


def execute(arguments: argparse.Namespace) -> int:
    _check(arguments)
    workspace.ensure_built(workspace.RUN_BINARIES, build=not arguments.no_build)
    requests = _requests(arguments, workspace.built_revision(workspace.PROCESS_BINARIES))
    interrupts = _InterruptCounter()
    console = lasting_console()
    with View(console) as view:
        sessions = [Session(request, view.say) for request in requests]
        try:
            for session in sessions:
                session.prepare()
            if not all(session.ended for session in sessions):
                for warning in inspector.estimate(arguments.config, arguments.overrides)["warnings"]:
                    view.say(f"warning: {warning}")
            prometheus = _prometheus(arguments, sessions)
            began = time.time()
            with prometheus or nullcontext():
                if prometheus is not None:
                    view.say(f"Prometheus shows the run at {prometheus.overview}")
                elif arguments.prometheus or arguments.prometheus_port:
                    view.say("--prometheus: nothing runs that it could show; with a higher stop condition the run goes on")
                exit_code = _run_all(sessions, arguments.parallel or 1, view, interrupts, prometheus)
            if prometheus is not None:
                view.say(f"this shows again what Prometheus has seen: {shlex.join(prometheus.command)}")
                end = max((session.learner_answered_at for session in sessions), default=0.0) or time.time()
                view.say(f"then at {prometheus.overview_of(began, end)}")
        finally:
            interrupts.end_command = False
            for session in sessions:
                session.close()
    interrupts.end_command = True
    for session in sessions:
        console.print("\n".join(summary_lines(session)), soft_wrap=True)
    if arguments.seeds:
        killed = any(session.killed for session in sessions)
        finish_seeds(requests[0].directory.parent, [session.directory for session in sessions], console, picture=not killed)
    return exit_code


def _check(arguments: argparse.Namespace) -> None:
    workspace.check_configuration(arguments.config)
    for override in arguments.overrides:
        if "=" not in override:
            raise UsageError(f"--set {override}: expected FIELD=VALUE, as in --set sac.batch_size=128")
    if arguments.seed is not None:
        raise UsageError(f"--seed: one run with seed {arguments.seed} is --set seed={arguments.seed}; --seeds N makes N runs")
    for given in (arguments.seeds, arguments.parallel):
        if given is not None and given < 1:
            raise UsageError(f"--seeds and --parallel are numbers of runs: expected 1 or more, got {given}")
    if arguments.prometheus_port is not None and not 1 <= arguments.prometheus_port <= 65535:
        raise UsageError(f"--prometheus-port: expected 1 to 65535, got {arguments.prometheus_port}")
    if arguments.parallel and not arguments.seeds:
        raise UsageError(f"--parallel {arguments.parallel} is for several runs: expected --seeds N too")
    if arguments.prometheus or arguments.prometheus_port:
        check_usable(arguments.prometheus_port or 0)
    if arguments.init_from:
        try:
            check_has_networks(arguments.init_from)
        except UsageError as error:
            raise UsageError(f"--init-from: {error}") from error


def _requests(arguments: argparse.Namespace, revision: str) -> list[Request]:
    """One for each seed. The default directory has a name without time, so that the same command finds it again."""
    config = arguments.config.absolute()
    seed = int(inspector.as_json(config, arguments.overrides)["seed"])
    init_from = arguments.init_from.absolute() if arguments.init_from else None
    if not arguments.seeds:
        directory = arguments.dir or workspace.RUNS / f"{config.stem}-seed{seed}"
        return [Request(config, arguments.overrides, directory, init_from, revision, arguments.certificates)]
    parent = arguments.dir or workspace.RUNS / config.stem
    if RunDirectory(parent).is_run():
        raise UsageError(f"{parent} holds a run itself: the runs of --seeds need another directory")
    return [
        Request(
            config,
            [*arguments.overrides, f"seed={one}"],
            parent / f"seed-{one}",
            init_from,
            revision,
            arguments.certificates,
        )
        for one in range(seed, seed + arguments.seeds)
    ]


def _prometheus(arguments: argparse.Namespace, sessions: list[Session]) -> Prometheus | None:
    """Beside the runs, if it was asked for and there is something to run."""
    runs = [session.directory for session in sessions if not session.ended]
    if not runs or not (arguments.prometheus or arguments.prometheus_port):
        return None
    parent = runs[0].path.parent if arguments.seeds else runs[0].path
    return Prometheus(parent / "prometheus", [run.targets for run in runs], arguments.prometheus_port or 0)


def _run_all(
    sessions: list[Session],
    parallel: int,
    view: View,
    interrupts: "_InterruptCounter",
    prometheus: Prometheus | None = None,
) -> int:
    """Runs the sessions, `parallel` at a time, until all have ended or were interrupted. Returns the exit code. They go
    on without a Prometheus that ends."""
    interrupts.end_command = False
    seen = 0
    waiting = [session for session in sessions if not session.ended]
    active: list[Session] = []
    without_picture: list[Session] = []  # which takes seconds, in which nobody would look after the others
    while waiting or active:
        while waiting and len(active) < parallel and not interrupts.count:
            if prometheus is not None and not _are_watched(waiting[: parallel - len(active)], prometheus, view):
                break
            active.append(waiting.pop(0))
            active[-1].start()
        for session in active:
            session.poll()
        while seen < interrupts.count:  # which may grow meanwhile
            seen += 1
            for session in active + waiting:
                session.interrupt()
            waiting.clear()
        if prometheus is not None and (end := prometheus.take_end()):
            view.say(f"Prometheus has ended, and the run goes on without it: {end}")
        if view.due and active:
            _show(view, active)
        for session in [session for session in active if session.ended]:
            active.remove(session)
            session.close()
            if len(sessions) > 1:  # of one alone the summary says it, and at once
                view.say(end_line(session))
            without_picture.append(session)
            if session.outcome.exit_code == errors.BAD_USAGE:
                waiting.clear()
        interrupts.end_command = not (active or waiting)  # what is left are pictures
        while without_picture and not active:
            without_picture.pop(0).draw()
        time.sleep(POLL_SECONDS)
    return _exit_code([session.outcome.exit_code for session in sessions])


def _are_watched(sessions: list[Session], prometheus: Prometheus, view: View) -> bool:
    """Whether Prometheus will see the sessions' processes from their start: a short run would be over before."""
    for session in sessions:
        if not session.announced:
            session.announce()
            view.say(f"{session.name}: starts as soon as Prometheus knows of its processes, in 5 s at most")
    known = [prometheus.knows(session.directory.targets) for session in sessions]  # each has its time from now on
    return all(known)


def _show(view: View, sessions: list[Session]) -> None:
    """What goes wrong with the view must not end what it shows."""
    try:
        view.show([session.view() for session in sessions])
    except Exception as error:
        view.switch_off()
        view.say(f"the view is switched off: {error!r}")


def _exit_code(codes: list[int]) -> int:
    """Of several runs: an interruption first, then bad usage, then failure."""
    return next((code for code in (errors.INTERRUPTED, errors.BAD_USAGE, errors.FAILED) if code in codes), errors.DONE)


class _InterruptCounter:
    """Counts SIGINT, SIGTERM and SIGHUP, once there is something to drain; until then they end the command.

    Only SIGINT counts again: whoever ends a process group, or a terminal that goes away, may send the others twice, and
    nobody is impatient who does.
    """

    def __init__(self) -> None:
        self.count = 0
        self.end_command = True
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._handle)

    def _handle(self, number: int, *_: object) -> None:
        if self.end_command:
            raise KeyboardInterrupt
        if number == signal.SIGINT or self.count == 0:
            self.count += 1
