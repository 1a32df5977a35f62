"""Updates of Stable-Baselines3's SAC a second, at the sizes of sac_update.cc.

    python sac_update_sb3.py [--json] [--threads 1,2] [--seconds 3] [--rounds 200]

Measured twice: as installed, and with MKL's fast path freed, which it does not take by itself on processors of other
makers than Intel (third_party/mkl_dispatch.cc does the same for our programs). For that a library of one function is
compiled with `cc` and preloaded into a second process. The buffer is filled from an environment of random numbers, so
that only the update is measured. As in sac_update.cc each figure is the best of its rounds.

Output: a table, or with --json one object a line: name, value, unit; `reference` is the value as installed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

SIZES = [
    {"batch": 256, "hidden": 256, "observation": 17, "action": 6},
    {"batch": 64, "hidden": 64, "observation": 3, "action": 1},
]
FREE_MKL = "int mkl_serv_intel_cpu_true(void) { return 1; }\n"


def make_model(sizes):
    import gymnasium
    import numpy
    from stable_baselines3 import SAC

    class RandomNumbers(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(-numpy.inf, numpy.inf, (sizes["observation"],), numpy.float32)
        action_space = gymnasium.spaces.Box(-1, 1, (sizes["action"],), numpy.float32)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return self._observation(), {}

        def step(self, action):
            return self._observation(), float(self.np_random.normal()), self.np_random.random() < 0.01, False, {}

        def _observation(self):
            return self.np_random.normal(size=self.observation_space.shape).astype(numpy.float32)

    model = SAC(
        "MlpPolicy",
        RandomNumbers(),
        learning_starts=2000,
        buffer_size=2000,
        batch_size=sizes["batch"],
        device="cpu",
        seed=0,
        policy_kwargs={"net_arch": [sizes["hidden"]] * 2},
    )
    model.learn(2010)
    return model


def measure(arguments):
    """Prints a line `batch hidden threads updates/s` for each figure."""
    import torch

    for threads in arguments.threads:
        torch.set_num_threads(threads)
        for sizes in SIZES:
            model = make_model(sizes)
            best = 0.0
            for _ in range(arguments.rounds):
                updates, start = 0, time.perf_counter()
                while True:
                    model.train(gradient_steps=4, batch_size=sizes["batch"])
                    updates += 4
                    elapsed = time.perf_counter() - start
                    if elapsed >= arguments.seconds / arguments.rounds:
                        break
                best = max(best, updates / elapsed)
            print(sizes["batch"], sizes["hidden"], threads, best, flush=True)


def run_measurement(arguments, preload):
    environment = dict(os.environ)
    if preload:
        environment["LD_PRELOAD"] = preload
    command = [sys.executable, __file__, "--measure", "--threads", ",".join(map(str, arguments.threads))]
    command += ["--seconds", str(arguments.seconds), "--rounds", str(arguments.rounds)]
    output = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    figures = {}
    for line in output.splitlines():
        batch, hidden, threads, value = line.split()
        figures[f"batch{batch}_hidden{hidden}/threads{threads}"] = float(value)
    return figures


def report(arguments, name, beside, value):
    if arguments.json:
        print(json.dumps({"name": name, "beside": beside, "value": value, "unit": "updates/s"}), flush=True)
    else:
        print(f"{name:45} {beside:35} {value:10.1f} updates/s")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--threads", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2])
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments)
        return
    installed = run_measurement(arguments, None)
    with tempfile.TemporaryDirectory() as folder:
        library = os.path.join(folder, "free_mkl.so")
        compile_command = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", library]
        subprocess.run(compile_command, input=FREE_MKL, text=True, check=True)
        freed = run_measurement(arguments, library)
    for figure, value in installed.items():
        report(arguments, f"sac_update/{figure}", "Stable-Baselines3", value)
        report(arguments, f"sac_update/{figure}", "Stable-Baselines3, MKL freed", freed[figure])


main()
