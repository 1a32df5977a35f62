"""What `tools/headrace bench topologies` runs: for each task the five topologies, as configurations of deploy/run with
settings that make them comparable, and which libraries have something like it.

Actor-critic in a queue, by central inference and by asynchronous gradients is one load: the same network, the same number
of environments, and the same number of samples in an update, each used once. With the others, what a library has beside
them takes its sizes from the very configuration that is run (`settings_of`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace_cli import inspector, workspace

# Of every run: only its final policy is evaluated, and rows of progress are close enough to tell when learning began.
COMMON = ("evaluation.interval_steps=1000000000", "stop.score=", "learner.log_interval_seconds=0.25")

STABLE_BASELINES3, SAMPLE_FACTORY, RLLIB = "stable_baselines3", "sample_factory", "rllib"
_ALGORITHMS = ("sac", "dqn", "ppo", "actor_critic")


@dataclass(frozen=True)
class Row:
    name: str  # the topology, and where one has two rows the algorithm
    configuration: str  # a file of deploy/run
    steps: int
    settings: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    name: str
    score: float  # mean return of the final policy, without exploration, from which on a run counts
    episodes: int  # of that evaluation
    rows: tuple[Row, ...]


def _actor_critic(*settings: str) -> tuple[str, ...]:
    """Actors of a queue or of central inference: 64 environments, 512 steps in an update."""
    sizes = ("actor.processes=2", "actor.environments=32", "actor_critic.unroll_length=32", "actor_critic.batch_size=16")
    return (*sizes, "actor_critic.optimizer.anneal=true", *settings)


def _asynchronous(*settings: str) -> tuple[str, ...]:
    """Each of two actors makes a gradient of 512 steps; the optimiser is the others'."""
    sizes = ("actor.processes=2", "actor.environments=16", "actor_critic.unroll_length=32")
    return (*sizes, "actor_critic.optimizer.kind=ADAM", "actor_critic.optimizer.anneal=true", *settings)


_CART_POLE = ("actor_critic.optimizer.learning_rate=1e-3",)
_CHEETAH = (
    "environment.name=HalfCheetah-v5",
    "actor_critic.normalize_observations=true",
    "actor_critic.entropy_coefficient=0",
    "actor_critic.reward_scale=0.1",
)
_BREAKOUT = (
    "environment.name=MinAtar/Breakout-v1",
    "actor_critic.optimizer.learning_rate=2e-3",
    "actor_critic.network.torso=MINATAR",
    "actor_critic.network.hidden=",
    "actor_critic.network.shared=true",
    "actor_critic.value_coefficient=0.5",
)
_SYNCHRONOUS_BREAKOUT = (
    "environment.name=MinAtar/Breakout-v1",
    "ppo.network.torso=MINATAR",
    "ppo.network.hidden=",
    "ppo.network.shared=true",
    "ppo.entropy_coefficient=0.01",
)

TASKS = {
    task.name: task
    for task in (
        Task(
            "CartPole-v1",
            score=475,
            episodes=100,
            rows=(
                Row("REPLAY", "cartpole_dqn", 50_000, ("dqn.optimizer.anneal=true",), (STABLE_BASELINES3,)),
                Row("QUEUE", "cartpole_impala", 2_000_000, _actor_critic(*_CART_POLE), (SAMPLE_FACTORY, RLLIB)),
                Row("SYNCHRONOUS/ppo", "cartpole_ppo", 200_000, libraries=(STABLE_BASELINES3,)),
                Row("SYNCHRONOUS/a2c", "cartpole_a2c", 500_000, ("ppo.optimizer.anneal=true",), (STABLE_BASELINES3,)),
                Row("CENTRAL_INFERENCE", "cartpole_ga3c", 2_000_000, _actor_critic(*_CART_POLE), (SAMPLE_FACTORY,)),
                Row("ASYNCHRONOUS_GRADIENTS", "cartpole_a3c", 2_000_000, _asynchronous(*_CART_POLE)),
            ),
        ),
        Task(
            "HalfCheetah-v5",
            score=1000,
            episodes=10,
            rows=(
                Row("REPLAY", "half_cheetah_sac", 50_000, libraries=(STABLE_BASELINES3,)),
                Row("QUEUE", "cartpole_impala", 2_000_000, _actor_critic(*_CHEETAH), (SAMPLE_FACTORY,)),
                Row(
                    "SYNCHRONOUS/ppo",
                    "half_cheetah_ppo",
                    500_000,
                    ("actor.processes=2", "actor.environments=4", "ppo.round_steps=256"),  # together as many steps
                    (STABLE_BASELINES3,),
                ),
                Row(
                    "SYNCHRONOUS/a2c",
                    "cartpole_a2c",
                    1_000_000,
                    ("environment.name=HalfCheetah-v5", "ppo.normalize_observations=true", "ppo.normalize_rewards=true"),
                    (STABLE_BASELINES3,),
                ),
                Row("CENTRAL_INFERENCE", "cartpole_ga3c", 2_000_000, _actor_critic(*_CHEETAH), (SAMPLE_FACTORY,)),
                Row("ASYNCHRONOUS_GRADIENTS", "cartpole_a3c", 2_000_000, _asynchronous(*_CHEETAH)),
            ),
        ),
        Task(
            "MinAtar/Breakout-v1",
            score=5,
            episodes=30,
            rows=(
                Row(
                    "REPLAY",
                    "minatar_breakout_dqn",
                    500_000,
                    ("dqn.updates_per_step=0.25", "dqn.optimizer.anneal=true"),
                    (STABLE_BASELINES3,),
                ),
                Row("QUEUE", "cartpole_impala", 2_000_000, _actor_critic(*_BREAKOUT), (SAMPLE_FACTORY, RLLIB)),
                Row(
                    "SYNCHRONOUS/ppo",
                    "cartpole_ppo",
                    1_000_000,
                    (
                        *_SYNCHRONOUS_BREAKOUT,
                        "ppo.round_steps=128",
                        "ppo.epochs=4",
                        "ppo.minibatches=4",
                        "ppo.discount=0.99",
                        "ppo.lambda=0.95",
                    ),
                    (STABLE_BASELINES3,),
                ),
                Row(
                    "SYNCHRONOUS/a2c",
                    "cartpole_a2c",
                    1_000_000,
                    _SYNCHRONOUS_BREAKOUT,
                    (STABLE_BASELINES3,),
                ),
                Row("CENTRAL_INFERENCE", "cartpole_ga3c", 2_000_000, _actor_critic(*_BREAKOUT), (SAMPLE_FACTORY,)),
                Row("ASYNCHRONOUS_GRADIENTS", "cartpole_a3c", 2_000_000, _asynchronous(*_BREAKOUT)),
            ),
        ),
    )
}


@dataclass(frozen=True)
class Load:
    """One seed of a row, as the configuration that all sides run."""

    task: Task
    row: Row
    steps: int
    seed: int

    @property
    def configuration(self) -> str:
        return f"deploy/run/{self.row.configuration}.textproto"

    @property
    def overrides(self) -> list[str]:
        own = (f"seed={self.seed}", f"stop.env_steps={self.steps}", f"evaluation.episodes={self.task.episodes}")
        return [*self.row.settings, *COMMON, *own]

    def resolved(self) -> dict[str, Any]:
        return inspector.as_json(workspace.ROOT / self.configuration, self.overrides)


def algorithm_of(config: Mapping[str, Any]) -> str:
    return next(name for name in _ALGORITHMS if name in config)


def samples_per_update(config: Mapping[str, Any]) -> int:
    """Environment steps in one step of the optimiser."""
    algorithm = algorithm_of(config)
    options, actor = config[algorithm], config["actor"]
    if algorithm == "ppo":
        return actor["processes"] * actor["environments"] * options["round_steps"] // options["minibatches"]
    if algorithm == "actor_critic":
        asynchronous = config["topology"] == "ASYNCHRONOUS_GRADIENTS"
        return options["unroll_length"] * (actor["environments"] if asynchronous else options["batch_size"])
    return options["batch_size"]


def optimizer_steps(config: Mapping[str, Any], updates: float) -> float:
    """What the learner counts as an update is a whole round where there are rounds."""
    options = config.get("ppo")
    return updates * options["epochs"] * options["minibatches"] if options else updates


def settings_of(load: Load, config: Mapping[str, Any]) -> dict[str, Any]:
    """What a library is told: the resolved configuration, and what follows from it."""
    algorithm = algorithm_of(config)
    return {
        "task": load.task.name,
        "steps": load.steps,
        "seed": load.seed,
        "episodes": load.task.episodes,
        "algorithm": "a2c" if load.row.name.endswith("/a2c") else algorithm,
        "processes": config["actor"]["processes"],
        "environments": config["actor"]["processes"] * config["actor"]["environments"],
        "samples_per_update": samples_per_update(config),
        "options": config[algorithm],
        "min_steps": int(config["replay"]["min_steps"]),
        "capacity": int(config["replay"]["capacity"]),
    }
