"""Compares the games of MinAtar with those of the package: given the same random numbers, both play the same episodes.

    minatar_test.py path/to/step_server

The package's games draw from a stand-in for NumPy's RandomState that gives the numbers of our random stream. Each game
is played by chance, and by a player that looks ahead, who gets to see what chance alone does not.
"""

import copy
import sys
import unittest

import minatar
import numpy as np

from actor.env import step_client

LAST_CHANNELS_FIRST = (2, 0, 1)
N, LEFT, UP, RIGHT, DOWN, FIRE = range(6)

FREEWAY_STEPS = 2501


class RandomNumbers:
    """The stream (seed, kTest, 0, kEnvironment) of common/random.h with the methods of RandomState that games use."""

    def __init__(self, seed):
        self._key = (seed & 0xFFFFFFFF, seed >> 32)
        self._position = 0
        self._block = []

    def rand(self, *shape):
        if shape:
            return np.array([self.rand() for _ in range(shape[0])])
        return (self._bits64() >> 11) * 2.0**-53

    def randint(self, low, high=None, size=None):
        if size is not None:
            return np.array([self.randint(low, high) for _ in range(size)])
        low, high = (0, low) if high is None else (low, high)
        # Rejections, with a probability of 2^-60, are left out.
        return low + (self._bits64() * (high - low) >> 64)

    def _bits64(self):
        if not self._block:
            self._block = self._philox([self._position, 0, 0, 5 << 16 | 3])
            self._position += 1
        return self._block.pop(0) | self._block.pop(0) << 32

    def _philox(self, counter):
        key0, key1 = self._key
        for _ in range(10):
            product0, product1 = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
            counter = [
                product1 >> 32 ^ counter[1] ^ key0,
                product1 & 0xFFFFFFFF,
                product0 >> 32 ^ counter[3] ^ key1,
                product0 & 0xFFFFFFFF,
            ]
            key0, key1 = key0 + 0x9E3779B9 & 0xFFFFFFFF, key1 + 0xBB67AE85 & 0xFFFFFFFF
        return counter


def towards(column, row, to_column, to_row):
    if to_row != row:
        return UP if to_row < row else DOWN
    if to_column != column:
        return LEFT if to_column < column else RIGHT
    return N


def asterix(game, _):
    gold = [thing for thing in game.entities if thing is not None and thing[3]]
    return towards(game.player_x, game.player_y, *(gold[0][:2] if gold else (5, 5)))


def breakout(game, step):
    # The ball is met from below or where it arrives, by turns: so it flies along every path.
    ahead = game.ball_x + (1 if game.ball_dir in (1, 2) else -1)
    return towards(game.pos, 0, game.ball_x if step // 100 % 2 else min(max(ahead, 0), 9), 0)


def freeway(game, _):
    return UP


def seaquest(game, _):
    if game.diver_count == 6 or game.diver_count != 0 and game.oxygen < 40:
        return UP
    if game.sub_y == 0:
        return DOWN
    enemies = [enemy for enemy in game.e_subs + game.e_fish if enemy[1] == game.sub_y]
    if game.shot_timer == 0 and any((enemy[0] > game.sub_x) == game.sub_or for enemy in enemies):
        return FIRE
    if not game.divers:
        return towards(game.sub_x, game.sub_y, 5, 4)
    nearest = min(game.divers, key=lambda diver: abs(diver[0] - game.sub_x) + abs(diver[1] - game.sub_y))
    return towards(game.sub_x, game.sub_y, *nearest[:2])


def space_invaders(game, step):
    if game.shot_timer == 0:
        return FIRE
    columns = np.flatnonzero(game.alien_map.any(axis=0))
    return towards(game.pos, 0, columns[step // 50 % len(columns)], 0)


# Each with a sum of rewards that is not to be had without higher levels, new bricks, six divers, new waves.
PLAYERS = {
    "asterix": (asterix, 100),
    "breakout": (breakout, 200),
    "freeway": (freeway, 15),
    "seaquest": (seaquest, 70),
    "space_invaders": (space_invaders, 200),
}


def survives(game, action):
    """Whether the action, and doing nothing for two steps after it, keeps the game going."""
    game = copy.deepcopy(game)
    return not any(game.act(taken)[1] for taken in (action, N, N))


class MinAtarTest(unittest.TestCase):
    def compare(self, name, minimal, seed, steps, choose):
        """Plays both for so many steps; choose(game, step) is the index of a button. The sum of rewards."""
        theirs = minatar.Environment(name)
        theirs.random = theirs.env.random = RandomNumbers(seed)
        buttons = theirs.minimal_action_set() if minimal else list(range(theirs.num_actions()))
        title = f"MinAtar/{name.title().replace('_', '')}-v{int(minimal)}"
        rows, columns, channels = theirs.state_shape()
        total, length = 0, 0
        with step_client.Environment(STEP_SERVER, title, seed, rows * columns * channels) as ours:
            over = True
            for step in range(steps):
                where = f"{title}, seed {seed}, step {step}"
                if over:
                    _, planes = ours.reset()
                    theirs.reset()
                    theirs.last_action = N
                    length = 0
                    self.assert_same(where, planes, theirs.state())
                button = choose(theirs.env, step)
                action = buttons.index(button) if button in buttons else 0
                planes, reward, terminated = ours.step([action])
                their_reward, over = theirs.act(buttons[action])
                length += 1
                self.assert_same(where, planes, theirs.state())
                self.assertEqual(reward, their_reward, where)
                if name == "freeway":  # time is up; ours leaves that to the time limit
                    self.assertFalse(terminated, where)
                    self.assertEqual(over, length == FREEWAY_STEPS, where)
                else:
                    self.assertEqual(terminated, over, where)
                total += reward
        return total

    def assert_same(self, where, planes, their_state):
        theirs = their_state.transpose(LAST_CHANNELS_FIRST)
        different = np.argwhere(planes.reshape(theirs.shape) != theirs)
        self.assertEqual(different.tolist(), [], f"{where}: the channel, row and column of what differs")

    def test_chance_plays_the_same_episodes(self):
        for name in PLAYERS:
            for minimal in (False, True):
                with self.subTest(name=name, minimal=minimal):
                    random = np.random.default_rng(1)
                    self.compare(name, minimal, 1, 3000, lambda game, step: int(random.integers(6)))

    def test_a_player_who_looks_ahead_plays_the_same_episodes(self):
        for name, (player, enough) in PLAYERS.items():
            with self.subTest(name=name):
                random = np.random.default_rng(2)

                def choose(game, step):
                    actions = [player(game, step), *random.permutation(6).tolist()]
                    return next((action for action in actions if survives(game, action)), actions[0])

                total = self.compare(name, False, 2, 4000, choose)
                self.assertGreaterEqual(total, enough)


if __name__ == "__main__":
    STEP_SERVER = sys.argv.pop(1)
    unittest.main()
