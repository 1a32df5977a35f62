"""Measures updates of a Stable-Baselines3 algorithm; sac_update_sb3.py and ppo_update_sb3.py say which.

Measured twice on a processor: as installed, and with MKL's fast path freed, which it does not take by itself on
processors of other makers than Intel (free_mkl.py). With --device cuda once, on a GPU. As in update_rate.h each figure
is the best of its rounds.

Output: a table, or with --json one object a line: name, value, unit; `beside` says of which of the two.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import free_mkl


def random_environment(observation, action_space):
    """An environment of random numbers, so that only updates cost time; with episodes of about 100 steps."""
    import gymnasium
    import numpy

    class RandomNumbers(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(-numpy.inf, numpy.inf, (observation,), numpy.float32)

        def __init__(self):
            self.action_space = action_space

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return self._observation(), {}

        def step(self, action):
            return self._observation(), float(self.np_random.normal()), self.np_random.random() < 0.01, False, {}

        def _observation(self):
            return self.np_random.normal(size=self.observation_space.shape).astype(numpy.float32)

    return RandomNumbers()


def main(description, updates, on_gpu):
    """Measures and prints. `updates`: by name, what makes a model on a device, then updates it and returns how often.
    `on_gpu`: more of them, for a GPU alone."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2])
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        _measure(arguments, updates if arguments.device == "cpu" else {**updates, **on_gpu})
        return
    installed = _run_measurement(arguments, None)
    if arguments.device != "cpu":
        for figure, value in installed.items():
            _report(arguments, figure, "Stable-Baselines3", value)
        return
    with tempfile.TemporaryDirectory() as folder:
        freed = _run_measurement(arguments, str(free_mkl.library(Path(folder))))
    for figure, value in installed.items():
        _report(arguments, figure, "Stable-Baselines3", value)
        _report(arguments, figure, "Stable-Baselines3, MKL freed", freed[figure])


def _measure(arguments, updates):
    """Prints a line `name updates/s` for each figure."""
    import torch

    on_gpu = arguments.device != "cpu"
    for threads in [1] if on_gpu else arguments.threads:
        torch.set_num_threads(threads)
        for name, make_update in updates.items():
            update = make_update(arguments.device)
            best = 0.0
            for _ in range(arguments.rounds):
                count, start = 0, time.perf_counter()
                while True:
                    count += update()
                    elapsed = time.perf_counter() - start
                    if elapsed >= arguments.seconds / arguments.rounds:
                        break
                if on_gpu:
                    torch.cuda.synchronize()
                    elapsed = time.perf_counter() - start
                best = max(best, count / elapsed)
            print(f"{name}/gpu" if on_gpu else f"{name}/threads{threads}", best, flush=True)


def _run_measurement(arguments, preload):
    environment = dict(os.environ)
    if preload:
        environment["LD_PRELOAD"] = preload
    command = [sys.executable, sys.argv[0], "--measure", "--threads", ",".join(map(str, arguments.threads))]
    command += ["--device", arguments.device, "--seconds", str(arguments.seconds), "--rounds", str(arguments.rounds)]
    output = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    return {name: float(value) for name, value in (line.split() for line in output.splitlines())}


def _report(arguments, name, beside, value):
    if arguments.json:
        print(json.dumps({"name": name, "beside": beside, "value": value, "unit": "updates/s"}), flush=True)
    else:
        print(f"{name:45} {beside:35} {value:10.1f} updates/s")
