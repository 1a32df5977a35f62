"""Environment steps a second of Gymnasium's vector environment, at the sizes of actor.py.

    python actor_gymnasium.py [--json] [--seconds 0.5] [--rounds 6] [--environments Pendulum-v1,...] [--lanes 1,4,16]

SyncVectorEnv on one core, with random actions, or with those of a PyTorch network of the same size. Nothing is written
anywhere. A second is one of the processor's time. Each figure is the median of its rounds.

Output: a table, or with --json one object a line: name, value, unit.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable

import gymnasium
import numpy
import torch

HIDDEN = 256


def make_policy(name: str, environments: gymnasium.vector.SyncVectorEnv) -> Callable[[numpy.ndarray], numpy.ndarray]:
    if name == "random":
        return lambda _: environments.action_space.sample()
    actions = environments.single_action_space
    network = torch.nn.Sequential(
        torch.nn.Linear(environments.single_observation_space.shape[0], HIDDEN),
        torch.nn.ReLU(),
        torch.nn.Linear(HIDDEN, HIDDEN),
        torch.nn.ReLU(),
        torch.nn.Linear(HIDDEN, 2 * actions.shape[0]),
    )

    def act(observations: numpy.ndarray) -> numpy.ndarray:
        output = network(torch.as_tensor(observations, dtype=torch.float32))
        mean, log_scale = output.chunk(2, dim=-1)
        sample = torch.tanh(mean + log_scale.clamp(-5, 2).exp() * torch.randn_like(mean)).numpy()
        return actions.low + (sample + 1) / 2 * (actions.high - actions.low)

    return act


@torch.inference_mode()
def measure(environment: str, policy: str, lanes: int, seconds: float, rounds: int) -> float:
    environments = gymnasium.vector.SyncVectorEnv([lambda: gymnasium.make(environment) for _ in range(lanes)])
    act = make_policy(policy, environments)
    observations, _ = environments.reset(seed=1)
    rates = []
    for _ in range(rounds + 1):  # the first one warms up
        begin, steps, elapsed = time.process_time(), 0, 0.0
        while elapsed < seconds:
            observations, *_ = environments.step(act(observations))
            steps += lanes
            elapsed = time.process_time() - begin
        rates.append(steps / elapsed)
    environments.close()
    return statistics.median(rates[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each round")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--environments", default="HalfCheetah-v5,Pendulum-v1")
    parser.add_argument("--policies", default="random,mlp256")
    parser.add_argument("--lanes", default="1,4,16")
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.chdir(tempfile.gettempdir())  # MuJoCo's Python package writes MUJOCO_LOG.TXT where it is
    os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
    for environment in options.environments.split(","):
        for policy in options.policies.split(","):
            for lanes in map(int, options.lanes.split(",")):
                value = measure(environment, policy, lanes, options.seconds, options.rounds)
                name = f"actor/{environment}/{policy}/lanes{lanes}"
                if options.json:
                    print(json.dumps({"name": name, "value": value, "unit": "steps/s"}), flush=True)
                else:
                    print(f"{name:40} {value:10.0f} steps/s", flush=True)


if __name__ == "__main__":
    main()
