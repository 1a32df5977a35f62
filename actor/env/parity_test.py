"""Compares the environments with Gymnasium's: the same state and the same actions must give the same numbers.

    parity_test.py path/to/step_server

Each episode starts from a state that our Reset drew and that is copied into Gymnasium's environment; both are then
stepped side by side. Observations, rewards and the terminal flag must agree to 1e-9, absolute or relative. A second
test compares the distributions that Reset draws from.
"""

import functools
import sys
import unittest

import gymnasium
import mujoco
import numpy as np

from actor.env import step_client

STEPS = 200
SEEDS = (0, 1, 2)
TOLERANCE = 1e-9

CLASSIC = ["Pendulum-v1", "CartPole-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0"]
MUJOCO = [
    "InvertedPendulum-v5",
    "InvertedDoublePendulum-v5",
    "Reacher-v5",
    "Pusher-v5",
    "Swimmer-v5",
    "Hopper-v5",
    "Walker2d-v5",
    "HalfCheetah-v5",
    "Ant-v5",
    "Humanoid-v5",
    "HumanoidStandup-v5",
]


def set_state(env, state):
    """Puts Gymnasium's environment into the state and returns its observation."""
    if hasattr(env, "model"):
        mujoco.mj_resetData(env.model, env.data)
        # The last number is our measure of progress, which a fresh episode of Gymnasium's computes itself.
        mujoco.mj_setState(env.model, env.data, state[:-1], mujoco.mjtState.mjSTATE_INTEGRATION)
        env.set_state(env.data.qpos.copy(), env.data.qvel.copy())
        return env._get_obs()
    # Gymnasium's car has a float32 state from its first step on, ours from the start.
    env.state = state.astype(np.float32) if env.spec.id == "MountainCarContinuous-v0" else state.copy()
    env.steps_beyond_terminated = None
    if hasattr(env, "_get_ob"):
        return env._get_ob()
    return env._get_obs() if hasattr(env, "_get_obs") else env.state.astype(np.float32)


def choose_actions(space, random):
    """Blocks of random actions and of each extreme; float64 numbers that float32 holds exactly."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return [int(action) for action in random.integers(space.n, size=STEPS)]
    low, high = space.low, space.high
    actions = []
    while len(actions) < STEPS:
        actions += [random.uniform(low, high).astype(np.float32) for _ in range(20)]
        actions += [np.where(random.random(low.shape) < 0.5, low, high) for _ in range(10)]
        actions += [low] * 5 + [high] * 5
    return [action.astype(np.float64) for action in actions[:STEPS]]


class ParityTest(unittest.TestCase):
    def assert_same(self, what, ours, theirs):
        ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
        difference = np.abs(ours - theirs)
        wrong = difference > TOLERANCE * np.maximum(1, np.abs(theirs))
        if wrong.any():
            self.fail(f"{what}: ours {ours[wrong]}, Gymnasium's {theirs[wrong]}, at {np.argwhere(wrong).ravel()}")

    def compare(self, name, seed):
        env = gymnasium.make(name).unwrapped
        self.addCleanup(env.close)
        env.reset(seed=seed)
        with Ours(name, seed, env.observation_space.shape[0]) as ours:
            over = True
            for step, action in enumerate(choose_actions(env.action_space, np.random.default_rng(seed))):
                where = f"{name}, seed {seed}, step {step}"
                if over:
                    state, observation = ours.reset()
                    self.assert_same(f"{where}, reset", observation, set_state(env, state))
                observation, reward, terminated = ours.step(action)
                their_observation, their_reward, their_terminated, _, _ = env.step(action)
                self.assert_same(f"{where}, observation", observation, their_observation)
                self.assert_same(f"{where}, reward", [reward], [their_reward])
                self.assertEqual(terminated, their_terminated, where)
                over = terminated

    def test_trajectories_are_gymnasiums(self):
        for name in CLASSIC + MUJOCO:
            for seed in SEEDS:
                with self.subTest(name=name, seed=seed):
                    self.compare(name, seed)

    def test_goals_are_reached_at_the_same_step(self):
        # Random actions get nowhere there; pushing the way it already moves does, in some hundred steps.
        self.reach_goal("MountainCar-v0", lambda seen: 2 if seen[1] >= 0 else 0)
        self.reach_goal("MountainCarContinuous-v0", lambda seen: np.array([1.0 if seen[1] >= 0 else -1.0]))
        self.reach_goal("Acrobot-v1", lambda seen: 2 if seen[4] < 0 else 0)

    def reach_goal(self, name, policy):
        env = gymnasium.make(name).unwrapped
        self.addCleanup(env.close)
        env.reset(seed=0)
        with Ours(name, 0, env.observation_space.shape[0]) as ours:
            state, observation = ours.reset()
            set_state(env, state)
            for step in range(500):
                action = policy(observation)
                observation, reward, terminated = ours.step(action)
                their_observation, their_reward, their_terminated, _, _ = env.step(action)
                self.assert_same(f"{name}, step {step}, observation", observation, their_observation)
                self.assert_same(f"{name}, step {step}, reward", [reward], [their_reward])
                self.assertEqual(terminated, their_terminated)
                if terminated:
                    return
        self.fail(f"{name}: the goal was never reached")

    def test_resets_are_drawn_from_gymnasiums_distributions(self):
        draws = 400
        for name in CLASSIC + MUJOCO:
            with self.subTest(name=name):
                env = gymnasium.make(name).unwrapped
                self.addCleanup(env.close)
                theirs = np.array([env.reset(seed=seed)[0] for seed in range(draws)], np.float64)
                with Ours(name, 0, theirs.shape[1]) as ours_process:
                    ours = np.array([ours_process.reset()[1] for _ in range(draws)])
                deviation = theirs.std(axis=0)
                # The difference of two means has deviation sqrt(2 / draws); that of two standard deviations, relative,
                # about sqrt(1 / draws) for normal and less for uniform numbers. Heavy tails (contact forces) are
                # left to the bounds by six times as much.
                margin = 6 * np.sqrt(2 / draws)
                self.assertTrue((np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) <= margin * deviation + 1e-6).all())
                self.assertTrue((np.abs(ours.std(axis=0) - deviation) <= margin * deviation + 1e-6).all())


if __name__ == "__main__":
    Ours = functools.partial(step_client.Environment, sys.argv.pop(1))
    unittest.main()
