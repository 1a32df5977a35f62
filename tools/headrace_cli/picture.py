"""Draws learning curves as PNG, against environment steps and against wall time."""

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot  # noqa: E402  (the backend must be chosen first)
from matplotlib.ticker import EngFormatter  # noqa: E402

from headrace_cli.curves import Curve, Group, Run  # noqa: E402
from headrace_cli.errors import UsageError  # noqa: E402
from headrace_cli.statistics import Array, bootstrap_interval, on_common_grid  # noqa: E402

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette, which colour-blind people can tell apart; each group also has a line style of its own.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":")

_X_AXES = (("environment steps", "env_steps"), ("wall time (s)", "wall_seconds"))
_STYLE = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 10,
    "grid.alpha": 0.3,
    "legend.frameon": False,
}


def draw(groups: list[Group], output: Path, title: str) -> None:
    """Writes the picture. One run also shows its training return; several show means over seeds.

    UsageError: no run has anything to draw yet, or the file cannot be written.
    """
    if not any(_drawable(run) for group in groups for run in group.runs):
        raise UsageError("there is nothing to draw yet: no run has a finished evaluation or episode")
    with pyplot.rc_context(_STYLE):
        figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.2), sharey=True, layout="constrained")
        for axis, (label, attribute) in zip(axes, _X_AXES, strict=True):
            for number, group in enumerate(groups):
                _draw_group(axis, group, attribute, number, alone=len(groups) == 1)
            axis.set_xlabel(label)
            axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes[0].set_ylabel("return of an episode")
        axes[0].legend(loc="best")
        figure.suptitle(title)
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(output, dpi=150)
        except OSError as error:
            raise UsageError(f"{output} cannot be written: {error.strerror}") from error
        finally:
            pyplot.close(figure)


def _drawable(run: Run) -> bool:
    return len(run.evaluations) > 0 or len(run.training) > 0


def _draw_group(axis: "Axes", group: Group, attribute: str, number: int, alone: bool) -> None:
    colour, style = COLOURS[number % len(COLOURS)], STYLES[number // len(COLOURS) % len(STYLES)]
    evaluated = [run.evaluations for run in group.runs if len(run.evaluations)]
    if alone and len(group.runs) == 1:
        _draw_training(axis, group.runs[0].training, attribute)
    if len(evaluated) == 1:
        _draw_single(axis, evaluated[0], attribute, group.label, colour, style)
    elif evaluated:
        _draw_seeds(axis, evaluated, attribute, group.label, colour, style)


def _draw_training(axis: "Axes", curve: Curve, attribute: str) -> None:
    if len(curve):
        axis.plot(_x(curve, attribute), curve.returns, color="0.6", linewidth=1, label="training, mean of recent episodes")


def _draw_single(axis: "Axes", curve: Curve, attribute: str, label: str, colour: str, style: str) -> None:
    x = _x(curve, attribute)
    axis.plot(x, curve.returns, style, color=colour, marker="o", markersize=3, label=f"{label}, evaluation (mean ± std)")
    axis.fill_between(x, curve.returns - curve.spread, curve.returns + curve.spread, color=colour, alpha=0.15, linewidth=0)


def _draw_seeds(axis: "Axes", curves: list[Curve], attribute: str, label: str, colour: str, style: str) -> None:
    grid, values = on_common_grid([(_x(curve, attribute), curve.returns) for curve in curves])
    interval = bootstrap_interval(values)
    for curve in curves:
        axis.plot(_x(curve, attribute), curve.returns, color=colour, linewidth=0.7, alpha=0.3)
    text = f"{label}, mean of {len(curves)} seeds, 95% interval"
    axis.plot(grid, interval.mean, style, color=colour, linewidth=2, label=text)
    axis.fill_between(grid, interval.low, interval.high, color=colour, alpha=0.2, linewidth=0)


def _x(curve: Curve, attribute: str) -> Array:
    return getattr(curve, attribute)
