"""Means over seeds, and how sure they are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RESAMPLES = 2000
FEWEST = 4  # seeds; of fewer the interval below is all that lies between the lowest and the highest


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and its percentile bootstrap interval, element by element."""

    mean: Array
    low: Array
    high: Array


def bootstrap_interval(values: Array, confidence: float = 0.95, resamples: int = RESAMPLES) -> Interval:
    """values: [seeds, points]. With one seed there is no spread to tell, and the interval is the mean itself.

    Seeds are drawn with replacement, whole curves at a time, from a fixed random stream: the same curves give the same
    picture.
    """
    seeds = values.shape[0]
    mean = values.mean(axis=0)
    if seeds == 1:
        return Interval(mean, mean, mean)
    draws = np.random.default_rng(0).integers(seeds, size=(resamples, seeds))
    # How often each seed is in each resample, so that the means are one matrix product: [resamples, points].
    counts = np.stack([np.bincount(draw, minlength=seeds) for draw in draws])
    means = counts @ values / seeds
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(means, [tail, 100 - tail], axis=0)
    return Interval(mean, low, high)


def name_of_interval(seeds: int) -> str:
    """What may be said of bootstrap_interval's result."""
    return "95% interval" if seeds >= FEWEST else "lowest to highest"


def on_common_grid(curves: Sequence[tuple[Array, Array, bool]], points: int = 200) -> tuple[Array, Array]:
    """Curves (x, y, ended) of several seeds as (grid, [seeds, points]), interpolated, from where all have begun to where
    the last ends. A seed that has ended keeps its last value: one that has reached its score would be missed in the mean.
    Of one that goes on nobody knows what comes: beyond it there is no mean."""
    begin = max(x[0] for x, _, _ in curves)
    unfinished = [x[-1] for x, _, ended in curves if not ended]
    end = max(begin, min(unfinished) if unfinished else max(x[-1] for x, _, _ in curves))
    grid = np.linspace(begin, end, points)
    return grid, np.stack([np.interp(grid, x, y) for x, y, _ in curves])
