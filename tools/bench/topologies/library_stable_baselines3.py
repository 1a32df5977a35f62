"""A run of Stable-Baselines3: library_tasks.py says what is read and written.

Its learner waits while it steps, and the other way round: there is no policy lag.
"""

import os
import time

import torch
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO, SAC
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import nn

import library_tasks

_ACTIVATIONS = {"TANH": nn.Tanh, "RELU": nn.ReLU}


class MinatarTorso(BaseFeaturesExtractor):
    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space, 128)
        planes, rows, columns = observation_space.shape
        filters = 16 * (rows - 2) * (columns - 2)
        self._layers = nn.Sequential(
            nn.Conv2d(planes, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(filters, 128), nn.ReLU()
        )

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self._layers(observations)


def main(settings):
    algorithm, options = settings["algorithm"], settings["options"]
    # The products of small networks only lose by a second thread.
    torch.set_num_threads(len(os.sched_getaffinity(0)) if algorithm == "sac" else 1)
    environments = DummyVecEnv([lambda: library_tasks.make_environment(settings["task"])] * settings["environments"])
    if options.get("normalize_observations") or options.get("normalize_rewards"):
        environments = VecNormalize(
            environments, norm_obs=options["normalize_observations"], norm_reward=options["normalize_rewards"]
        )
    make = {"a2c": a2c, "ppo": ppo, "dqn": dqn, "sac": sac}[algorithm]
    model = make(settings, options, environments)
    begin = time.perf_counter()
    model.learn(settings["steps"])
    seconds = time.perf_counter() - begin

    def act(observation):
        if isinstance(environments, VecNormalize):
            observation = environments.normalize_obs(observation)
        return model.predict(observation, deterministic=True)[0]

    held_out = library_tasks.make_environment(settings["task"])
    # It counts an epoch of PPO as an update.
    per_update = settings["environments"] * options["round_steps"] if algorithm == "ppo" else settings["samples_per_update"]
    return {
        "steps": model.num_timesteps,
        "seconds": seconds,
        "score": library_tasks.evaluate(held_out, act, settings["episodes"], settings["seed"]),
        "uses": model._n_updates * per_update / model.num_timesteps,
        "lag": None if algorithm in ("dqn", "sac") else 0.0,
    }


def network(options, separate):
    """`separate`: the form that libraries with a policy and a value want the layers in."""
    given = options["network"]
    if given["torso"] == "MINATAR":
        return {"features_extractor_class": MinatarTorso, "net_arch": [], "normalize_images": False}
    hidden = given["hidden"]
    layers = {"pi": hidden, "vf": hidden} if separate else hidden
    return {"net_arch": layers, "activation_fn": _ACTIVATIONS[given["activation"]]}


def falling(value, falls):
    return (lambda remaining: value * remaining) if falls else value


def common(settings, options, environments):
    return {
        "env": environments,
        "gamma": options["discount"],
        "seed": settings["seed"],
        "device": "cpu",
    }


def on_policy(settings, options, environments):
    optimizer = options["optimizer"]
    return common(settings, options, environments) | {
        "n_steps": options["round_steps"],
        "gae_lambda": options["lambda"],
        "ent_coef": options["entropy_coefficient"],
        "vf_coef": options["value_coefficient"],
        "max_grad_norm": optimizer["max_gradient_norm"],
        "learning_rate": falling(optimizer["learning_rate"], optimizer["anneal"]),
        "normalize_advantage": options["normalize_advantages"],
    }


def a2c(settings, options, environments):
    epsilon = options["optimizer"]["epsilon"]
    policy = network(options, separate=True)
    return A2C("MlpPolicy", **on_policy(settings, options, environments), rms_prop_eps=epsilon, policy_kwargs=policy)


def ppo(settings, options, environments):
    policy = network(options, separate=True) | {"optimizer_kwargs": {"eps": options["optimizer"]["epsilon"]}}
    return PPO(
        "MlpPolicy",
        **on_policy(settings, options, environments),
        batch_size=settings["samples_per_update"],
        n_epochs=options["epochs"],
        clip_range=falling(options["clip"], options["anneal_clip"]),
        policy_kwargs=policy,
    )


def off_policy(settings, options, environments):
    return common(settings, options, environments) | {
        "batch_size": options["batch_size"],
        "buffer_size": min(settings["capacity"], settings["steps"]),
        "train_freq": 1,  # all environments step once
        "gradient_steps": max(1, round(options["updates_per_step"] * settings["environments"])),
        "n_steps": options["n_step"],
    }


def dqn(settings, options, environments):
    exploration = options["exploration"]
    return DQN(
        "MlpPolicy",
        **off_policy(settings, options, environments),
        learning_rate=falling(options["optimizer"]["learning_rate"], options["optimizer"]["anneal"]),
        learning_starts=settings["min_steps"],
        target_update_interval=round(options["target_update_interval"] / options["updates_per_step"]),
        max_grad_norm=options["optimizer"]["max_gradient_norm"] or float("inf"),
        exploration_fraction=exploration["share"],
        exploration_initial_eps=exploration["start"],
        exploration_final_eps=exploration["end"][0] if exploration.get("end") else 0.05,
        policy_kwargs=network(options, separate=False),
    )


def sac(settings, options, environments):
    return SAC(
        "MlpPolicy",
        **off_policy(settings, options, environments),
        learning_rate=options["actor_learning_rate"],
        learning_starts=int(options["random_steps"]),
        policy_kwargs={"net_arch": options["hidden"]},
    )


if __name__ == "__main__":
    library_tasks.main(main)
