"""Shows the state of a run: a table that is redrawn on a terminal, a line now and then elsewhere."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.measure import Measurement
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from headrace_cli.csv_tail import Row
from headrace_cli.status import Plan, Status

# Between two tables on a terminal.
REDRAW_SECONDS = 0.25
# Between two lines elsewhere: the longer it has been going on, the longer, so that a run of days leaves a readable log.
PLAIN_SECONDS = (2.0, 60.0)
PLAIN_SHARE = 1 / 30
_UNKNOWN = "–"
_BORDER = 4  # columns that a panel takes on both sides together
_WIDEST = 1000  # columns, more than any panel needs
_COMFORTABLE = 118  # columns of a panel where there is room: with fewer its width would change with its figures

Figure = tuple[str, str]  # what it is, and its value


@dataclass(frozen=True)
class RunView:
    """What is shown of one run."""

    name: str
    state: str  # "starting", "running", "draining", ...
    plan: Plan
    status: Status
    elapsed_seconds: float  # since it was started, this time
    earlier_seconds: float = 0.0  # that it had run before
    restarts: int = 0


class View:
    """Shows runs until it is closed; a context manager. Messages go above what is redrawn."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._begin = clock()
        self._next = self._begin
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> "View":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    @property
    def due(self) -> bool:
        """Whether it is time to show the runs again."""
        return self._clock() >= self._next

    def show(self, runs: list[RunView]) -> None:
        if self._live:
            self._next = self._clock() + REDRAW_SECONDS
            self._live.update(Group(*(panel(run, self._console) for run in runs)), refresh=True)
        else:
            shortest, longest = PLAIN_SECONDS
            elapsed = self._clock() - self._begin
            self._next = self._clock() + min(max(elapsed * PLAIN_SHARE, shortest), longest)
            for run in runs:
                self.say(plain_line(run))

    def switch_off(self) -> None:
        """Nothing is shown any more; messages still are."""
        self._next = math.inf
        if self._live:
            self._live.update(Text(""))
            self._live.stop()

    def say(self, message: str) -> None:
        """A line that stays."""
        self._console.print(Text(message), soft_wrap=True)


def plain_line(run: RunView) -> str:
    """One line, with the same columns each time once anything is known."""
    status = run.status
    parts = [run.name, run.state, _running_time(run)]
    if status != Status():
        parts += [
            f"env steps {counted(status.env_steps, status.env_steps_per_second)}",
            f"updates {counted(status.updates, status.updates_per_second)}",
            f"return {number(status.training_return)}",
            f"evaluation {evaluation(status.evaluation)}",
            f"policy lag of actors {in_updates(status.actors_policy_lag)}",
        ]
        if run.plan.replay:
            parts.append(f"age of sampled data {in_updates(status.sampled_age)}")
            if not run.plan.queue:  # of which each item is used once
                parts.append(f"samples per insert {number(status.samples_per_insert)}")
            parts.append(f"replay {fill(run)}")
        else:
            parts.append(f"staleness of gradients {in_updates(status.sampled_age)}")
    if run.restarts:
        parts.append(f"restarts {run.restarts}")
    if status.lost_steps:
        parts.append(f"lost steps {number(status.lost_steps)}")
    if status.dropped_steps:
        parts.append(f"dropped steps {number(status.dropped_steps)}")
    if status.held_back_actors:
        parts.append(f"actors held back {number(status.held_back_actors)}")
    if run.state == "running" and status.waiting:
        parts.append(status.waiting)
    elif run.state == "running" and status.verdict:
        parts.append(f"limited by {status.verdict.component}")
    return " | ".join(parts)


def panel(run: RunView, console: Console) -> Panel:
    grid, label_width = figures_grid(_figures(run), console)
    rows: list[Table | Text] = [grid, _progress(run, label_width)]
    if run.state == "running" and run.status.waiting:
        rows.append(Text(run.status.waiting, style="yellow"))
    elif run.state == "running" and run.status.verdict:
        rows.append(Text(run.status.verdict.text, style="dim"))
    title = Text(f"{run.name}: {run.state}, {_running_time(run)}")
    return Panel(Group(*rows), title=title, title_align="left", width=min(console.width, _COMFORTABLE))


def _running_time(run: RunView) -> str:
    before = f" (+ {duration(run.earlier_seconds)} before)" if run.earlier_seconds >= 1 else ""
    return duration(run.elapsed_seconds) + before


def figures_grid(figures: list[Figure], console: Console) -> tuple[Table, int]:
    """Two figures in a row; one where a panel is too narrow for two, so that none is cut. Also how wide
    the labels at its left are."""
    table = _table(figures, 2)
    width = Measurement.get(console, console.options.update(max_width=_WIDEST), table).maximum
    labels = [label for label, _ in figures[::2]]
    if width + _BORDER > min(console.width, _COMFORTABLE):
        table = _table(figures, 1)
        labels = [label for label, _ in figures]
    return table, max(map(len, labels))


def _figures(run: RunView) -> list[Figure]:
    status = run.status
    figures = [
        ("environment steps", counted(status.env_steps, status.env_steps_per_second)),
        ("updates", counted(status.updates, status.updates_per_second)),
        ("training return", number(status.training_return)),
        ("last evaluation", evaluation(status.evaluation)),
        ("policy lag of actors", in_updates(status.actors_policy_lag)),
    ]
    if run.plan.replay:
        figures += [
            ("age of sampled data", in_updates(status.sampled_age)),
            ("replay", fill(run)),
            ("in memory", memory(status)),
            ("batch wait", batch_wait(status)),
            ("an update takes", seconds(status.update_seconds)),
        ]
        if not run.plan.queue:
            figures.append(("samples per insert", number(status.samples_per_insert)))
        figures += [
            ("on their way to replay", size(status.unacknowledged_bytes)),
            ("prefetched batches", number(status.prefetched_batches)),
        ]
    else:
        figures += [
            ("staleness of gradients", in_updates(status.sampled_age)),
            ("wait for gradients", batch_wait(status)),
            ("an update takes", seconds(status.update_seconds)),
        ]
    figures.append(("processes restarted", number(run.restarts)))
    if status.lost_steps:
        figures.append(("lost steps", number(status.lost_steps)))
    if status.dropped_steps:
        figures.append(("dropped steps", number(status.dropped_steps)))
    if status.held_back_actors:
        figures.append(("actors held back", number(status.held_back_actors)))
    return figures


def _table(figures: list[Figure], in_a_row: int) -> Table:
    table = Table.grid(padding=(0, 3), expand=False)
    for _ in range(in_a_row):
        table.add_column(style="dim", no_wrap=True)
        table.add_column(justify="left", no_wrap=True, min_width=22)
    for begin in range(0, len(figures), in_a_row):
        table.add_row(*(text for figure in figures[begin : begin + in_a_row] for text in figure))
    return table


def _progress(run: RunView, label_width: int) -> Table:
    """How near each of the conditions is that end the run."""
    grid = Table.grid(padding=(0, 3))
    grid.add_column(style="dim", no_wrap=True, min_width=label_width)
    grid.add_column(max_width=40)  # the bars take what there is of it
    grid.add_column(no_wrap=True)
    plan = run.plan
    if plan.stop_env_steps:
        done = min(run.status.env_steps or 0, plan.stop_env_steps)
        grid.add_row("ends at steps", ProgressBar(plan.stop_env_steps, done), number(plan.stop_env_steps))
    if plan.stop_seconds:
        done = min(run.earlier_seconds + run.elapsed_seconds, plan.stop_seconds)
        grid.add_row("ends after", ProgressBar(plan.stop_seconds, done), duration(plan.stop_seconds))
    if plan.stop_score is not None:
        times = f", {plan.stop_consecutive} times in a row" if plan.stop_consecutive > 1 else ""
        grid.add_row("ends at score", number(plan.stop_score) + times)
    return grid


def number(value: float | None) -> str:
    """1234567 -> "1,234,567"; small numbers keep three digits; None -> a dash."""
    if value is None or value != value:
        return _UNKNOWN
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def rate(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{number(value)}/s"


def counted(value: float | None, per_second: float | None) -> str:
    """How many so far, and how many more each second: "3,424 (895/s)"."""
    return number(value) if per_second is None else f"{number(value)} ({rate(per_second)})"


def in_updates(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{number(value)} update{'' if value == 1 else 's'}"


def seconds(value: float | None) -> str:
    """A short time in a readable unit."""
    if value is None:
        return _UNKNOWN
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "us")):
        if value * factor >= 1 or unit == "us":
            return f"{value * factor:.3g} {unit}"
    return _UNKNOWN


def duration(value: float) -> str:
    """A long time: "3 s", "2 min 03 s", "1 h 02 min"."""
    whole = int(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole // 60 % 60:02} min"


def wall_time(value: float) -> str:
    """The same of a time that has been measured: "4.2 s" where a second more or less would be much."""
    return f"{value:.1f} s" if value < 10 else duration(value)


def size(value: float | None) -> str:
    """Bytes in binary units."""
    if value is None:
        return _UNKNOWN
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.3g} {unit}" if value < 100 else f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.3g} TiB"


def evaluation(row: Row | None) -> str:
    if row is None:
        return _UNKNOWN
    return f"{number(row.get('mean_return'))} at {number(row.get('env_steps'))} steps"


def fill(run: RunView) -> str:
    items = run.status.stored_items
    if items is None:
        return _UNKNOWN
    if run.plan.queue:
        return f"{number(items)} items in the queue"
    return f"{number(items)} of {number(run.plan.capacity)} items" if run.plan.capacity else f"{number(items)} items"


def memory(status: Status) -> str:
    if status.stored_bytes is None:
        return _UNKNOWN
    return f"{size(status.stored_bytes)} of {size(status.budget_bytes)}"


def batch_wait(status: Status) -> str:
    if status.batch_wait_share is None:
        return _UNKNOWN
    return f"{min(status.batch_wait_share, 1):.0%} of the time, {seconds(status.batch_wait_seconds)} each"
