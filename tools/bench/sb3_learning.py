"""Trains Stable-Baselines3's SAC or PPO as a run of Headrace would be trained, and keeps what it reached in the same form.

    python sb3_learning.py {sac,ppo} ENVIRONMENT DIR [--seeds 1,2,3,4,5] [--steps 100000] [--threads 2] [--installed]

Each seed leaves DIR/seed-S/evaluations.csv and metadata.json, as they lie under docs/results/ (with DIR
docs/results/NAME_sb3 `tools/results` sets them beside NAME). SAC's defaults stay, but for the layers, 2 x 256: batch 256,
one update for each step, 100 random steps first. So do PPO's: 2 x 64, rounds of 2,048 steps, ten epochs of minibatches of
64; observations and rewards are normalised and the learning rate falls to 0, as in our configurations. Every --interval
steps the policy is evaluated without noise; the time of these evaluations is not counted in wall_seconds. MKL's fast path
is freed as in our programs (free_mkl.py), unless --installed asks for the library as it comes.
"""

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import free_mkl

COLUMNS = ["env_steps", "wall_seconds", "updates", "mean_return", "std_return", "mean_length", "episodes"]


def numbers(text):
    return [int(number) for number in text.split(",")]


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("algorithm", choices=["sac", "ppo"])
    parser.add_argument("environment", help="as Gymnasium names it, such as HalfCheetah-v5")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seeds", type=numbers, default=[1, 2, 3, 4, 5])
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--hidden", type=numbers, help="SAC: 256,256; PPO: 64,64")
    parser.add_argument("--interval", type=int, default=10_000, help="steps from one evaluation to the next")
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--installed", action="store_true", help="leave MKL as it is installed")
    arguments = parser.parse_args()
    if arguments.hidden is None:
        arguments.hidden = [256, 256] if arguments.algorithm == "sac" else [64, 64]
    return arguments


def restart_with_free_mkl():
    """Starts this program again; returns its exit code."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "LD_PRELOAD": str(free_mkl.library(Path(folder)))}
        return subprocess.run([sys.executable, *sys.argv, "--installed"], env=environment).returncode


def make_model(arguments, seed, environment):
    from stable_baselines3 import PPO, SAC

    common = {"seed": seed, "device": "cpu", "policy_kwargs": {"net_arch": arguments.hidden}}
    if arguments.algorithm == "sac":
        return SAC("MlpPolicy", environment, **common)
    return PPO("MlpPolicy", environment, learning_rate=lambda left: 3e-4 * left, **common)


def make_environments(arguments, seed):
    """The one to learn in, and another to evaluate in."""
    import gymnasium
    from stable_baselines3.common.monitor import Monitor
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    learning, held_out = (DummyVecEnv([lambda: Monitor(gymnasium.make(arguments.environment))]) for _ in range(2))
    if arguments.algorithm == "ppo":
        learning = VecNormalize(learning)
        held_out = VecNormalize(held_out, training=False, norm_reward=False)
        held_out.obs_rms = learning.obs_rms
    held_out.seed(seed + 1_000_000)
    return learning, held_out


class Evaluations:
    """Evaluates now and then, and writes what came out to a CSV file."""

    def __init__(self, arguments, seed, environment, file):
        self.arguments = arguments
        self.seed = seed
        self.environment = environment
        self.file = file
        self.rows = csv.DictWriter(file, COLUMNS)
        self.rows.writeheader()
        self.begin = time.perf_counter()
        self.evaluating_seconds = 0.0

    def __call__(self, model):
        import numpy
        from stable_baselines3.common.evaluation import evaluate_policy

        paused = time.perf_counter()
        seconds = paused - self.begin - self.evaluating_seconds
        returns, lengths = evaluate_policy(
            model, self.environment, self.arguments.episodes, return_episode_rewards=True
        )
        values = [model.num_timesteps, seconds, model._n_updates, numpy.mean(returns), numpy.std(returns)]
        values += [numpy.mean(lengths), self.arguments.episodes]
        self.rows.writerow(dict(zip(COLUMNS, values, strict=True)))
        self.file.flush()
        self.evaluating_seconds += time.perf_counter() - paused
        print(
            f"{self.arguments.environment}, seed {self.seed}: {numpy.mean(returns):.1f} at {model.num_timesteps} steps, "
            f"{seconds:.0f} s, {model.num_timesteps / seconds:.0f} steps/s",
            flush=True,
        )


def train(arguments, seed, directory):
    import stable_baselines3
    from stable_baselines3.common.callbacks import ConvertCallback, EveryNTimesteps

    stable_baselines3.common.utils.set_random_seed(seed)
    environment, held_out = make_environments(arguments, seed)
    model = make_model(arguments, seed, environment)
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "evaluations.csv").open("w", encoding="utf-8", newline="") as file:
        evaluate = Evaluations(arguments, seed, held_out, file)
        before_the_end = EveryNTimesteps(
            arguments.interval,
            ConvertCallback(lambda _, __: model.num_timesteps >= arguments.steps or evaluate(model) is None),
        )
        model.learn(arguments.steps, before_the_end)
        evaluate(model)
    return stable_baselines3.__version__


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.processor()


def command_of(arguments, seed):
    """What makes this seed's run again, seen from the root of the source tree; the path of MKL stands in the metadata."""
    given = [arguments.algorithm, arguments.environment, "DIR"]
    given += [f"--steps={arguments.steps}", f"--interval={arguments.interval}"]
    given += [f"--episodes={arguments.episodes}", f"--hidden={','.join(map(str, arguments.hidden))}"]
    given += [f"--threads={arguments.threads}", f"--seeds={seed}"]
    return " ".join([".venv/bin/python tools/bench/sb3_learning.py", *given])


def main():
    arguments = parse()
    if not arguments.installed:
        return restart_with_free_mkl()
    import torch

    torch.set_num_threads(arguments.threads)
    root = arguments.directory.resolve()
    os.chdir(tempfile.gettempdir())  # where MuJoCo's log of warnings may lie
    for seed in arguments.seeds:
        directory = root / f"seed-{seed}"
        version = train(arguments, seed, directory)
        metadata = {
            "environment": arguments.environment,
            "algorithm": arguments.algorithm,
            "system": f"Stable-Baselines3 {version}",
            "command": command_of(arguments, seed),
            "version": version,
            "seed": seed,
            "machine": {"cpu": processor(), "cores": os.cpu_count(), "threads": arguments.threads},
            "mkl_freed": "LD_PRELOAD" in os.environ,
        }
        (directory / "metadata.json").write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
