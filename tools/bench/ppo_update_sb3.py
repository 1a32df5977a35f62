"""Updates of Stable-Baselines3's PPO a second, with its own settings, which ppo_update.cc has too: sb3_updates.py says
how. An update is one minibatch of 64 steps; of a round, whose targets are not counted here, there are 320.

python ppo_update_sb3.py [--json] [--device cpu] [--threads 1,2] [--seconds 3] [--rounds 200]
"""

import sb3_updates

OBSERVATION, ACTIONS, ROUND_STEPS, BATCH = 17, 6, 2048, 64


def make_update(discrete, device):
    import gymnasium
    from stable_baselines3 import PPO

    spaces = gymnasium.spaces
    actions = spaces.Discrete(ACTIONS) if discrete else spaces.Box(-1, 1, (ACTIONS,))
    model = PPO(
        "MlpPolicy",
        sb3_updates.random_environment(OBSERVATION, actions),
        n_steps=ROUND_STEPS,
        batch_size=BATCH,
        device=device,
        seed=0,
    )
    model.learn(ROUND_STEPS)

    def update():
        model.train()
        return model.n_epochs * ROUND_STEPS // BATCH

    return update


sb3_updates.main(
    __doc__.splitlines()[0],
    {
        "ppo_update/continuous": lambda device: make_update(False, device),
        "ppo_update/discrete": lambda device: make_update(True, device),
    },
    {},
)
