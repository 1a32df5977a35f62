"""Shows a running run as it goes, or the summary of one that has ended.

  tools/headrace top runs/pendulum_sac-seed1
"""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from headrace_cli import errors, inspector, workspace
from headrace_cli.errors import CommandError
from headrace_cli.live_view import RunView, View, plain_line
from headrace_cli.output import plain_console
from headrace_cli.run_directory import RunDirectory, is_alive, open_run, read_object
from headrace_cli.scraper import Scraper
from headrace_cli.session import group_label_of
from headrace_cli.status import Plan, plan_of
from headrace_cli.summary import run_lines

POLL_SECONDS = 0.1
_LEFT_ALONE = "its launcher was killed, what is left of it ends"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, metavar="DIR", help="a run directory")


def execute(arguments: argparse.Namespace) -> int:
    run = open_run(arguments.directory)
    console = plain_console()
    seen = _watch(run, console) if is_running(run) else None
    if seen and is_running(run):  # its files are older than what was seen
        console.print(plain_line(seen), soft_wrap=True)
        return errors.DONE
    lines = [f"{group_label_of(run.path)}: {_state(run)}", *run_lines(run)]
    if not is_running(run) and not run.has_ended() and run.typed():
        lines.append(f"  goes on with         {run.typed()}")
    console.print("\n".join(lines), soft_wrap=True)
    return errors.DONE


def _state(run: RunDirectory) -> str:
    if is_running(run):
        return _LEFT_ALONE if run.launcher_was_killed() else "running"
    if not run.has_ended():
        return "not running, and not at its end"
    return f"finished ({run.end_reason()})" if run.end_reason() else "finished"


def is_running(run: RunDirectory) -> bool:
    """Whether any process that the launcher recorded is there still: it may have been killed without a last word."""
    return any(is_alive(process) for process in run.recorded_processes())


def _watch(run: RunDirectory, console: Console) -> RunView | None:
    """Until the run ends; Ctrl-C leaves the run alone and ends only the view. Returns what was shown last."""
    seen = None
    plan = _plan(run)
    scraper = Scraper(plan, lambda: _metrics_addresses(run), run.last_evaluation)
    scraper.start()
    try:
        with View(console) as view:
            while is_running(run):
                if view.due:
                    seen = _view(run, plan, scraper)
                    view.show([seen])
                time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        pass
    finally:
        scraper.stop()
    return seen


def _view(run: RunDirectory, plan: Plan, scraper: Scraper) -> RunView:
    record = read_object(run.processes)
    state = _LEFT_ALONE if run.launcher_was_killed() else record.get("state", "running")
    return RunView(
        name=group_label_of(run.path),
        state=state,
        plan=plan,
        status=scraper.status_in(state),
        elapsed_seconds=time.time() - record.get("started_at", time.time()),
        earlier_seconds=record.get("earlier_seconds", 0.0),
        restarts=sum(max(process["attempts"] - 1, 0) for process in run.recorded_processes()),
    )


def _plan(run: RunDirectory) -> Plan:
    """Without the inspector's binary the view has no stop conditions, and is still a view."""
    try:
        workspace.binary(workspace.INSPECT)
        return plan_of(inspector.as_json(run.config, []))
    except CommandError:
        return Plan()


def _metrics_addresses(run: RunDirectory) -> Mapping[str, str]:
    return {
        process["name"]: process["addresses"]["metrics"]
        for process in run.recorded_processes()
        if process["running"] and "metrics" in process["addresses"]
    }
