"""Draws learning curves as PNG, against environment steps and against wall time."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace_cli import errors
from headrace_cli.curves import Curve, Group, Run
from headrace_cli.errors import UsageError
from headrace_cli.intervals import Array, bootstrap_interval, name_of_interval, on_common_grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette, which colour-blind people can tell apart; each group also has a line style of its own.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":")

AXES = ("steps", "time")
SUFFIXES = (".png", ".svg", ".pdf")

# The longest run decides the unit of wall time: from so many seconds on.
_TIME_UNITS = ((2 * 3600.0, "h", 3600.0), (600.0, "min", 60.0))

_MOST_IN_AXES = 6  # groups whose legend leaves room for the curves

XOf = Callable[[Curve], Array]

_STYLE: dict[Any, Any] = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 10,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "text.parse_math": False,  # labels are names, and a dollar sign is one
}


def draw(groups: list[Group], output: Path, title: str, against: Sequence[str] = AXES) -> None:
    """Writes the picture, against each of AXES that is named. One run also shows its training return; several show means over seeds.

    UsageError: no run has anything to draw yet, or the file cannot be written.
    """
    if output.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{output}: expected a file name that ends in {' or '.join(SUFFIXES)}")
    if not any(_drawable(run) for group in groups for run in group.runs):
        raise UsageError("there is nothing to draw yet: no run has a finished evaluation or episode")
    # Imported here: it takes most of a second, which only those who draw should wait for.
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    with rc_context(_STYLE):
        figure = Figure(figsize=(1.5 + 4.75 * len(against), 4.2), layout="constrained")
        axes = figure.subplots(1, len(against), sharey=True, squeeze=False)[0]
        x_axes = _x_axes(groups)
        for axis, (label, x_of) in zip(axes, (x_axes[one] for one in against), strict=True):
            for number, group in enumerate(groups):
                _draw_group(axis, group, x_of, number, alone=len(groups) == 1)
            axis.set_xlabel(label)
            if x_of is x_axes["steps"][1]:  # of which there are millions
                axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes[0].set_ylabel("return of an episode")
        if len(groups) <= _MOST_IN_AXES:
            axes[0].legend(loc="best")
        else:
            figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(against))
        figure.suptitle(title)
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(output, dpi=150)
        except OSError as error:
            raise UsageError(f"{output} cannot be written: {errors.of_file(error)}") from error


def _x_axes(groups: list[Group]) -> dict[str, tuple[str, XOf]]:
    """By name, of AXES: environment steps, and wall time in a unit that suits the longest run."""
    curves = [curve for group in groups for run in group.runs for curve in (run.evaluations, run.training)]
    longest = max(float(curve.wall_seconds.max()) for curve in curves if len(curve))
    unit, seconds = next(((unit, seconds) for begin, unit, seconds in _TIME_UNITS if longest >= begin), ("s", 1.0))
    return {
        "steps": ("environment steps", lambda curve: curve.env_steps),
        "time": (f"wall time ({unit})", lambda curve: curve.wall_seconds / seconds),
    }


def _drawable(run: Run) -> bool:
    return len(run.evaluations) > 0 or len(run.training) > 0


def _draw_group(axis: "Axes", group: Group, x_of: XOf, number: int, alone: bool) -> None:
    colour, style = COLOURS[number % len(COLOURS)], STYLES[number % len(STYLES)]
    evaluated = [(run.evaluations, run.ended) for run in group.runs if len(run.evaluations)]
    trained = [(run.training, run.ended) for run in group.runs if len(run.training)]
    if alone and len(group.runs) == 1:
        _draw_training(axis, group.runs[0].training, x_of)
    elif not evaluated and trained:  # without an evaluator
        _draw_seeds(axis, trained, x_of, f"{group.label}, training", colour, style)
    if len(evaluated) == 1:
        _draw_single(axis, evaluated[0][0], x_of, group.label, colour, style)
    elif evaluated:
        _draw_seeds(axis, evaluated, x_of, group.label, colour, style)


def _draw_training(axis: "Axes", curve: Curve, x_of: XOf) -> None:
    if len(curve):
        axis.plot(x_of(curve), curve.returns, color="0.6", linewidth=1, label="training, mean of recent episodes")


def _draw_single(axis: "Axes", curve: Curve, x_of: XOf, label: str, colour: str, style: str) -> None:
    x = x_of(curve)
    axis.plot(
        x, curve.returns, style, color=colour, marker="o", markersize=3, label=f"{label}, evaluation (mean ± std)"
    )
    axis.fill_between(
        x, curve.returns - curve.spread, curve.returns + curve.spread, color=colour, alpha=0.15, linewidth=0
    )


def _draw_seeds(
    axis: "Axes", curves: list[tuple[Curve, bool]], x_of: XOf, label: str, colour: str, style: str
) -> None:
    """curves: each with whether it has ended."""
    grid, values = on_common_grid([(x_of(curve), curve.returns, ended) for curve, ended in curves])
    interval = bootstrap_interval(values)
    for curve, _ in curves:
        axis.plot(x_of(curve), curve.returns, color=colour, linewidth=0.7, alpha=0.3, marker="." if len(curve) == 1 else "")
    text = f"{label}, mean of {len(curves)} seeds, {name_of_interval(len(curves))}" if len(curves) > 1 else label
    axis.plot(grid, interval.mean, style, color=colour, linewidth=2, label=text)
    axis.fill_between(grid, interval.low, interval.high, color=colour, alpha=0.2, linewidth=0)
