"""What the programs of all libraries share: the tasks as Gymnasium environments, an evaluation, settings and results.

Runs in the environments of the libraries, with their versions of Gymnasium and NumPy.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy

# One that Gymnasium does not have yet is stood in for by the version before, whose observations and rewards are the same.
_OLDER = {"HalfCheetah-v5": "HalfCheetah-v4"}
_MINATAR_STEPS = 10_000  # of an episode, as in Headrace


class Planes(gymnasium.ObservationWrapper):
    """MinAtar's planes as 32-bit floats, the planes first, or last where a library wants them so."""

    def __init__(self, environment: gymnasium.Env, first: bool) -> None:
        super().__init__(environment)
        rows, columns, planes = environment.observation_space.shape
        shape = (planes, rows, columns) if first else (rows, columns, planes)
        self._axes = (2, 0, 1) if first else (0, 1, 2)
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, shape, numpy.float32)

    def observation(self, observation: numpy.ndarray) -> numpy.ndarray:
        return numpy.ascontiguousarray(observation.transpose(self._axes), dtype=numpy.float32)


def make_environment(task: str, planes_first: bool = True) -> gymnasium.Env:
    if task.startswith("MinAtar/"):
        import minatar.gym

        if task not in gymnasium.registry:
            minatar.gym.register_envs()
        return Planes(gymnasium.make(task, max_episode_steps=_MINATAR_STEPS), planes_first)
    return gymnasium.make(task if task in gymnasium.registry else _OLDER.get(task, task))


def evaluate(environment: gymnasium.Env, act: Callable[[numpy.ndarray], Any], episodes: int, seed: int) -> float:
    """The mean return of a policy."""
    returns = []
    for episode in range(episodes):
        observation, _ = environment.reset(seed=1_000_000 + seed) if episode == 0 else environment.reset()
        returns.append(0.0)
        over = False
        while not over:
            observation, reward, terminated, truncated, _ = environment.step(act(observation))
            returns[-1] += float(reward)
            over = terminated or truncated
    return float(numpy.mean(returns))


def main(train: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """`train` returns the fields of an Outcome (outcome.py)."""
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    Path(sys.argv[2]).write_text(json.dumps(train(settings)), encoding="utf-8")
