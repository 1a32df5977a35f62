"""A run of Sample Factory's asynchronous PPO: library_tasks.py says what is read and written.

What the configuration does not say is as in Sample Factory's own example of MuJoCo. One policy worker acts for all
environments, in two halves of each rollout worker's; what it collects while the learner is at work is learned from with
the lag that it has by then.
"""

import math
import os
import statistics
import time

# Its checkpoints hold a NumPy number, which newer versions of PyTorch do not read unless they are told to.
os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"

import torch
from sample_factory.algo.learning.learner import Learner
from sample_factory.algo.runners.runner import AlgoObserver
from sample_factory.algo.utils.context import global_model_factory
from sample_factory.algo.utils.misc import ExperimentStatus
from sample_factory.cfg.arguments import parse_full_cfg, parse_sf_args
from sample_factory.enjoy import enjoy
from sample_factory.envs.env_utils import register_env
from sample_factory.model.encoder import Encoder
from sample_factory.train import make_runner
from torch import nn

import library_tasks


def make_environment(task, cfg=None, env_config=None, render_mode=None):
    return library_tasks.make_environment(task)


class MinatarEncoder(Encoder):
    def __init__(self, cfg, observation_space):
        super().__init__(cfg)
        planes, rows, columns = observation_space["obs"].shape
        filters = 16 * (rows - 2) * (columns - 2)
        self._layers = nn.Sequential(
            nn.Conv2d(planes, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(filters, 128), nn.ReLU()
        )

    def forward(self, observations):
        return self._layers(observations["obs"])

    def get_out_size(self):
        return 128


class Observer(AlgoObserver):
    """Sees each training iteration; what is counted then is of the iterations before."""

    def __init__(self):
        self.first = self.last = None
        self.lags = {}  # by the environment steps at which they were reported

    def on_training_step(self, runner, training_iteration_since_resume):
        steps = sum(runner.env_steps.values())
        self.last = (time.perf_counter(), steps)
        self.first = self.first or self.last
        lag = runner.policy_lag[0].get("version_diff_avg")
        if lag is not None and lag not in self.lags.values():
            self.lags[steps] = float(lag)


def configuration(settings, evaluation=False):
    options = settings["options"]
    optimizer, network = options["optimizer"], options["network"]
    workers = settings["processes"]
    arguments = {
        "algo": "APPO",
        "env": settings["task"],
        "device": "cpu",
        "train_dir": settings["directory"],
        "experiment": "run",
        "seed": settings["seed"],
        "train_for_env_steps": settings["steps"],
        "num_workers": workers,
        "num_envs_per_worker": settings["environments"] // workers,
        "worker_num_splits": 2,
        "rollout": options["unroll_length"],
        "batch_size": settings["samples_per_update"],
        "num_batches_per_epoch": 1,
        "num_epochs": 1,
        "use_rnn": False,
        "actor_critic_share_weights": network["shared"],
        "nonlinearity": network["activation"].lower(),
        "policy_initialization": "torch_default",
        "adaptive_stddev": False,
        "env_frameskip": 1,
        "learning_rate": optimizer["learning_rate"],
        "adam_eps": optimizer["epsilon"],
        "max_grad_norm": optimizer["max_gradient_norm"],
        "gamma": options["discount"],
        "gae_lambda": options["lambda"],
        "reward_scale": options["reward_scale"],
        "normalize_input": options["normalize_observations"],
        "exploration_loss_coeff": options["entropy_coefficient"],
        "value_loss_coeff": options["value_coefficient"],
        "ppo_clip_ratio": 0.2,
        "kl_loss_coeff": 0.1 if settings["task"].startswith("HalfCheetah") else 0.0,
        "value_bootstrap": True,
    }
    if evaluation:
        arguments |= {"max_num_episodes": settings["episodes"], "eval_deterministic": True}
    command = [f"--{name}={value}" for name, value in arguments.items()]
    if network.get("hidden"):
        command += ["--encoder_mlp_layers", *map(str, network["hidden"])]
    if evaluation:
        command.append("--no_render")
    parser, _ = parse_sf_args(command, evaluation=evaluation)
    cfg = parse_full_cfg(parser, command)
    if optimizer["anneal"]:
        cfg.lr_schedule = "linear_decay"  # which it has, but does not take from a command line
    return cfg


def main(settings):
    register_env(settings["task"], make_environment)
    if settings["options"]["network"]["torso"] == "MINATAR":
        global_model_factory().register_encoder_factory(MinatarEncoder)
    cfg, runner = make_runner(configuration(settings))
    observer = Observer()
    runner.register_observer(observer)
    status = runner.init()
    if status == ExperimentStatus.SUCCESS:
        status = runner.run()
    if status != ExperimentStatus.SUCCESS:
        raise SystemExit(f"the run ended with {status}")
    (begin, steps_before), (end, steps) = observer.first, observer.last
    checkpoint = Learner.load_checkpoint(Learner.get_checkpoints(Learner.checkpoint_dir(cfg, 0)), torch.device("cpu"))
    _, score = enjoy(configuration(settings, evaluation=True))
    return {
        "steps": steps - steps_before,
        "seconds": end - begin,
        "score": float(score) if score is not None else math.nan,
        "uses": checkpoint["train_step"] * settings["samples_per_update"] / checkpoint["env_steps"],
        "lag": statistics.fmean(observer.lags.values()) if observer.lags else None,
    }


if __name__ == "__main__":
    library_tasks.main(main)
