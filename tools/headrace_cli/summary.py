"""What is said of a run at its end."""

from pathlib import Path

from headrace_cli import errors
from headrace_cli.errors import UsageError
from headrace_cli.live_view import in_updates, number, rate, wall_time
from headrace_cli.run_directory import RunDirectory
from headrace_cli.session import Session


def summary_lines(session: Session) -> list[str]:
    """How the run ended, its figures, and where everything is."""
    outcome = session.outcome
    if outcome.exit_code not in (errors.DONE, errors.INTERRUPTED):
        lines = [f"{session.name} failed: {outcome.message}"]
        if outcome.exit_code == errors.FAILED and session.directory.progress_rows():
            lines += [*run_lines(session.directory), "  once the cause is mended, the same command goes on from the newest checkpoint that is whole"]
        return lines
    lines = [end_line(session)]
    if not session.directory.is_run():
        return lines
    lines += run_lines(session.directory)
    status = session.final_status
    if status.actors_policy_lag is not None:
        lines.append(f"  policy lag of actors {in_updates(status.actors_policy_lag)}")
    if status.sampled_age is not None:
        label = "age of sampled data " if session.plan.replay else "gradient staleness  "
        lines.append(f"  {label} {in_updates(status.sampled_age)}")
    if status.dropped_steps:
        lines.append(f"  dropped steps        {number(status.dropped_steps)}")
    if status.verdict_since_start:
        lines.append(f"  {status.verdict_since_start.text}")
    return lines


def end_line(session: Session) -> str:
    """How it ended, in a line, with the reason that the learner had for an end."""
    reason = session.directory.end_reason() if session.outcome.exit_code == errors.DONE else ""
    return f"{session.name}: {session.outcome.message.splitlines()[0]}" + (f" ({reason})" if reason else "")


def run_lines(directory: RunDirectory) -> list[str]:
    """The figures of a run's directory."""
    lines = []
    evaluations = directory.evaluation_rows()
    if evaluations:
        last = evaluations[-1]
        best = directory.best_return()
        if best is None:
            best = max(row["mean_return"] for row in evaluations)
        spread = (
            f"{number(last['mean_return'])} ± {number(last['std_return'])} over {number(last['episodes'])} episodes"
        )
        lines += [
            f"  last evaluation      {spread}; best {number(best)}",
        ]
    # What came after the last evaluation counts too: an interrupted run goes on from there.
    rows = [rows[-1] for rows in (evaluations, directory.progress_rows()) if rows]
    if rows:
        position = max(rows, key=lambda row: (row["env_steps"], row["updates"]))
        wall_seconds, steps, updates = (position[name] for name in ("wall_seconds", "env_steps", "updates"))
        lines += [
            f"  environment steps    {number(steps)} in {wall_time(wall_seconds)} ({rate(_per(steps, wall_seconds))})",
            f"  updates              {number(updates)} ({rate(_per(updates, wall_seconds))})",
        ]
        # Since the run began, which the learner's metric is not.
        lost = rows[-1].get("replay/lost_steps", 0.0)
        if lost > 0:
            lines.append(f"  lost steps           {number(lost)}")
    lines.append(f"  run directory        {shown(directory.path)}")
    try:
        lines.append(f"  checkpoint           {shown(directory.checkpoint('latest'))}")
    except UsageError:
        lines.append("  checkpoint           none yet")
    if directory.picture.exists():
        lines.append(f"  picture              {shown(directory.picture)}")
    return lines


def shown(path: Path) -> str:
    """Relative to where the user is, if it is below."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _per(amount: float, seconds: float) -> float | None:
    return amount / seconds if seconds > 0 else None
