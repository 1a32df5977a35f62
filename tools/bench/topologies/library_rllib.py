"""A run of RLlib's IMPALA, on its new API stack: library_tasks.py says what is read and written.

The learner lives in the driver's process, which is fastest where there are few cores. It does not say what policy lag it
has. Batches that it has no room for are dropped: their steps count as environment steps, but not as uses.
"""

import os
import time
import warnings

warnings.filterwarnings("ignore")
os.environ.update(RAY_DEDUP_LOGS="1", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0", PYTHONWARNINGS="ignore")

import ray
import torch
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.tune.registry import register_env

import library_tasks


def model(network):
    if network["torso"] == "MINATAR":
        return DefaultModelConfig(
            conv_filters=[[16, 3, 1]],
            conv_activation="relu",
            head_fcnet_hiddens=[128],
            head_fcnet_activation="relu",
            vf_share_layers=network["shared"],
        )
    return DefaultModelConfig(
        fcnet_hiddens=network["hidden"],
        fcnet_activation=network["activation"].lower(),
        vf_share_layers=network["shared"],
    )


def configuration(settings):
    options = settings["options"]
    optimizer, processes = options["optimizer"], settings["processes"]
    rate = optimizer["learning_rate"]
    return (
        IMPALAConfig()
        .environment("task")
        .env_runners(
            num_env_runners=processes,
            num_envs_per_env_runner=settings["environments"] // processes,
            rollout_fragment_length=options["unroll_length"],
        )
        .learners(num_learners=0)
        .reporting(min_time_s_per_iteration=0.5)
        .debugging(seed=settings["seed"])
        .training(
            train_batch_size_per_learner=settings["samples_per_update"],
            gamma=options["discount"],
            lr=[[0, rate], [settings["steps"], 0.0]] if optimizer["anneal"] else rate,
            grad_clip=optimizer["max_gradient_norm"],
            entropy_coeff=options["entropy_coefficient"],
            vf_loss_coeff=options["value_coefficient"],
        )
        .rl_module(model_config=model(options["network"]))
    )


def counters(result):
    """Time, steps sampled, and steps learned from."""
    learner = result.get("learners", {}).get("__all_modules__", {})
    trained = learner.get("num_module_steps_trained_lifetime", 0)
    return time.perf_counter(), result["env_runners"].get("num_env_steps_sampled_lifetime", 0), trained


def main(settings):
    def make(_):
        return library_tasks.make_environment(settings["task"], planes_first=False)

    processors = len(os.sched_getaffinity(0))
    ray.init(
        num_cpus=max(processors, settings["processes"] + 1),
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        _temp_dir=os.path.join(settings["directory"], "ray"),
    )
    register_env("task", make)
    algorithm = configuration(settings).build_algo()
    first = None
    while True:
        last = counters(algorithm.train())
        if first is None and last[2] > 0:
            first = last
        if first is not None and last[1] >= settings["steps"] and last is not first:
            break
    module = algorithm.get_module()

    def act(observation):
        with torch.no_grad():
            output = module.forward_inference({"obs": torch.as_tensor(observation[None])})
        return int(output["action_dist_inputs"].argmax())

    score = library_tasks.evaluate(make(None), act, settings["episodes"], settings["seed"])
    algorithm.stop()
    ray.shutdown()
    return {
        "steps": last[1] - first[1],
        "seconds": last[0] - first[0],
        "score": score,
        "uses": (last[2] - first[2]) / (last[1] - first[1]),
        "lag": None,
    }


if __name__ == "__main__":
    library_tasks.main(main)
