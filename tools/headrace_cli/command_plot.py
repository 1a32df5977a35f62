"""Draws learning curves as PNG: of one run, or of several as means with intervals.

Runs that differ only in their seed make one curve, the mean over seeds with a 95% bootstrap interval. Prints where the
picture is.

  tools/headrace plot runs/pendulum_sac-seed1
  tools/headrace plot runs/half_cheetah_sac runs/hopper_sac --output both.png
  tools/headrace plot runs/half_cheetah_sac --against steps
  tools/headrace plot ours=runs/a/seed-1,runs/a/seed-2 theirs=runs/b
"""

import argparse
from pathlib import Path

from headrace_cli import curves, errors
from headrace_cli.picture import AXES, draw
from headrace_cli.run_directory import RunDirectory


MOST_CHARACTERS = 80  # of a title that fits


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "directories",
        nargs="+",
        metavar="DIR",
        help="a run directory, a directory with those of several seeds, or LABEL=DIR,DIR",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="default: of one run DIR/plots/learning_curve.png, of the seeds in one directory DIR/learning_curve.png, "
        "of anything else learning_curves.png in the current directory",
    )
    parser.add_argument("--against", choices=AXES, help="only this; default: one picture against each, side by side")
    parser.add_argument("--title", help="default: the names of the groups")


def execute(arguments: argparse.Namespace) -> int:
    groups = curves.load_groups(arguments.directories)
    output = arguments.output or default_output(arguments.directories)
    names = ", ".join(group.label for group in groups)
    title = arguments.title or (names if len(names) <= MOST_CHARACTERS else f"{len(groups)} experiments")
    draw(groups, output, title, [arguments.against] if arguments.against else AXES)
    print(output.absolute())
    return errors.DONE


def default_output(arguments: list[str]) -> Path:
    """In the only directory that is drawn; what several have in common belongs to none of them."""
    if len(arguments) > 1 or not Path(arguments[0]).is_dir():
        return Path("learning_curves.png")
    directory = Path(arguments[0])
    return RunDirectory(directory).picture if curves.is_run(directory) else directory / "learning_curve.png"
