"""Golden numbers for Q-learning and Sarsa over unrolls: a second implementation, in float64, with autograd.

    python tests/golden/q_learning.py > tests/golden/q_learning.textproto

It is written from arXiv:1602.01783, algorithms 1, S1 and S2, and walks backwards over one environment after the other. In
each unroll of the file an episode terminates (environment 0), meets a time limit (environment 1), or goes on (2). Of each
method the file holds the initial parameters, the unrolls of every update with the targets, and the final parameters.
"""

import torch
from q_network import ACTIONS, OBSERVATION, network, put_network
from tensors import put, put_header

ENVIRONMENTS, ROWS, UPDATES = 3, 6, 5
DISCOUNT, RATE, DECAY, EPSILON, TARGET_INTERVAL = 0.9, 1e-3, 0.99, 0.01, 2

torch.manual_seed(1)
torch.set_default_dtype(torch.float64)


def unrolls():
    """As the columns travel: in single precision, a row of its own for an episode's final observation."""
    shape = (ENVIRONMENTS, ROWS)
    observation = torch.randn(*shape, OBSERVATION).float().double()
    action = torch.randint(ACTIONS, shape)
    reward = torch.randn(shape).float().double()
    terminated, observation_only = torch.zeros(shape), torch.zeros(shape)
    terminated[0, 1] = 1
    observation_only[0, 2] = observation_only[1, 3] = 1
    for column in (action, reward):
        column[observation_only == 1] = 0
    return observation, action, reward, terminated, observation_only


def targets(method, lagged, observation, action, reward, terminated, observation_only):
    """Of one environment: {row: target} of the rows that are steps."""
    found = {}
    following = None  # R of the n-step method, at the next row
    for t in reversed(range(ROWS)):
        best = lagged(observation[t]).max().item()
        if t == ROWS - 1 or observation_only[t] == 1:
            following = best
            continue
        after = t + 1
        if terminated[t] == 1:
            found[t] = reward[t].item()
        elif method == "n_step_q":
            found[t] = reward[t].item() + DISCOUNT * following
        elif method == "one_step_sarsa" and observation_only[after] == 0:
            found[t] = reward[t].item() + DISCOUNT * lagged(observation[after])[action[after]].item()
        else:
            found[t] = reward[t].item() + DISCOUNT * lagged(observation[after]).max().item()
        following = found[t]
    return found


def run(method):
    net, lagged = network(), network()
    lagged.load_state_dict(net.state_dict())
    optimizer = torch.optim.RMSprop(net.parameters(), RATE, alpha=DECAY, eps=EPSILON)
    put_network(f"{method}/initial/network", net)
    for i in range(UPDATES):
        columns = unrolls()
        for column, tensor in zip(["observation", "action", "reward", "terminated", "observation_only"], columns):
            put(f"{method}/update{i}/{column}", tensor)
        observation, action = columns[:2]
        errors = []
        for environment in range(ENVIRONMENTS):
            for t, y in targets(method, lagged, *[column[environment] for column in columns]).items():
                errors.append(y - net(observation[environment, t])[action[environment, t]])
        loss = (torch.stack(errors) ** 2 / 2).mean()
        put(f"{method}/update{i}/loss", loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (i + 1) % TARGET_INTERVAL == 0:
            lagged.load_state_dict(net.state_dict())
    put_network(f"{method}/final/network", net)
    put_network(f"{method}/final/target_network", lagged)


put_header("q_learning.py")
for name in ("n_step_q", "one_step_q", "one_step_sarsa"):
    run(name)
