"""What several seeds of one experiment have in common: a table and a picture."""

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from headrace_cli.curves import load_groups
from headrace_cli.errors import UsageError
from headrace_cli.intervals import bootstrap_interval, name_of_interval
from headrace_cli.live_view import number, wall_time
from headrace_cli.picture import draw
from headrace_cli.run_directory import RunDirectory
from headrace_cli.summary import shown


def finish_seeds(parent: Path, runs: list[RunDirectory], console: Console, picture: bool = True) -> None:
    """Prints the last evaluation of each seed with mean and interval, and draws all seeds together."""
    table = Table(title=f"{parent.name}: last evaluation of each seed", title_justify="left")
    for column in ("run", "return", "best", "env steps", "wall time", "state"):
        table.add_column(column, justify="left" if column in ("run", "state") else "right")
    last_returns = []
    for run in runs:
        rows = run.evaluation_rows()
        state = "finished" if run.has_ended() else "not finished" if run.is_run() else "not begun"
        if not rows:
            table.add_row(run.path.name, "–", "–", "–", "–", state)
            continue
        last = rows[-1]
        last_returns.append(last["mean_return"])
        best = max(row["mean_return"] for row in rows)
        table.add_row(
            run.path.name,
            number(last["mean_return"]),
            number(best),
            number(last["env_steps"]),
            wall_time(last["wall_seconds"]),
            state,
        )
    console.print(table)
    if not last_returns:
        return
    if len(last_returns) > 1:  # one alone has no interval
        interval = bootstrap_interval(np.array(last_returns)[:, None])
        low, high = number(float(interval.low[0])), number(float(interval.high[0]))
        mean = number(float(interval.mean[0]))
        what = name_of_interval(len(last_returns))
        console.print(f"mean of {len(last_returns)} seeds: {mean}, {what}: {low} to {high}", soft_wrap=True)
    if picture:
        _draw(parent, runs, console)


def _draw(parent: Path, runs: list[RunDirectory], console: Console) -> None:
    output = parent / "learning_curve.png"
    begun = [str(run.path) for run in runs if run.is_run()]
    try:
        draw(load_groups(begun), output, parent.name)
        console.print(f"picture: {shown(output.absolute())}", soft_wrap=True)
    except UsageError as error:
        console.print(f"no picture: {error}")
