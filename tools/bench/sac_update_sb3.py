"""Updates of Stable-Baselines3's SAC a second, at the sizes of sac_update.cc: sb3_updates.py says how.

python sac_update_sb3.py [--json] [--device cpu] [--threads 1,2] [--seconds 3] [--rounds 200]
"""

import sb3_updates

SIZES = [
    {"batch": 256, "hidden": 256, "observation": 17, "action": 6},
    {"batch": 64, "hidden": 64, "observation": 3, "action": 1},
]


ON_GPU = [{"batch": 4096, "hidden": 1024, "observation": 17, "action": 6}]


def make_update(sizes, device):
    import gymnasium
    from stable_baselines3 import SAC

    model = SAC(
        "MlpPolicy",
        sb3_updates.random_environment(sizes["observation"], gymnasium.spaces.Box(-1, 1, (sizes["action"],))),
        learning_starts=2000,
        buffer_size=2000,
        batch_size=sizes["batch"],
        device=device,
        seed=0,
        policy_kwargs={"net_arch": [sizes["hidden"]] * 2},
    )
    model.learn(2010)

    def update():
        model.train(gradient_steps=4, batch_size=sizes["batch"])
        return 4

    return update


def named(all_sizes):
    return {
        f"sac_update/batch{sizes['batch']}_hidden{sizes['hidden']}": lambda device, sizes=sizes: make_update(sizes, device)
        for sizes in all_sizes
    }


sb3_updates.main(__doc__.splitlines()[0], named(SIZES), named(ON_GPU))
