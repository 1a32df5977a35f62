"""What one run of any side came to."""

from collections.abc import Mapping
from dataclasses import dataclass, field


class Failed(Exception):
    """It came to nothing; the text says why."""


@dataclass(frozen=True)
class Outcome:
    """Steps and seconds are those of training: not of starting processes, and not of evaluating the final policy."""

    steps: float
    seconds: float
    score: float  # mean return of the final policy, without exploration
    uses: float  # how often an environment step was learned from
    lag: float | None = None  # updates between the policy that acted and the one that learned, mean; None: not known
    shares: Mapping[str, float] = field(default_factory=dict)  # of the learner's time, by what it is laid to

    @property
    def rate(self) -> float:
        return self.steps / self.seconds
