"""The network of action values of dqn.py and q_learning.py."""

from tensors import put
from torch import nn

OBSERVATION, ACTIONS, HIDDEN = 3, 4, 8


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(OBSERVATION, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, ACTIONS)
    )


def put_network(prefix: str, net: nn.Sequential) -> None:
    for index, layer in [(0, "torso/layer0"), (2, "torso/layer1"), (4, "head")]:
        put(f"{prefix}/{layer}/weight", net[index].weight)
        put(f"{prefix}/{layer}/bias", net[index].bias)
