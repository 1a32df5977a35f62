"""Golden numbers for deep Q-networks: a second implementation, in float64, with autograd.

    python tests/golden/dqn.py > tests/golden/dqn.textproto

It is written from the papers (Mnih et al., 2015; arXiv:1509.06461; arXiv:1511.05952) and sums up rewards one item after
the other. Of each variant the file holds the initial parameters, the batches of every update with the targets, and the
final parameters.
"""

import torch
from q_network import ACTIONS, OBSERVATION, network, put_network
from tensors import put, put_header

BATCH, UPDATES = 6, 5
DISCOUNT, RATE, TARGET_INTERVAL = 0.9, 1e-2, 2
# name, steps, double, Huber's loss, tau, weights of prioritised replay
VARIANTS = [("one_step", 1, False, False, 1.0, False), ("double", 1, True, True, 1.0, False),
            ("n_step", 3, True, True, 0.25, True)]

torch.manual_seed(1)
torch.set_default_dtype(torch.float64)


def experience(steps):
    """As the columns travel: in single precision, items that end early with zeros beyond their end."""
    observation = torch.randn(BATCH, 2, OBSERVATION).float().double()
    action = torch.randint(ACTIONS, (BATCH,))
    reward = (3 * torch.randn(BATCH, steps)).float().double()
    terminated = torch.zeros(BATCH, steps)
    rows = torch.full((BATCH,), steps + 1)
    for item in range(BATCH):
        ends = item % 3  # 0: goes on; 1: terminates; 2: a time limit
        if ends == 0:
            continue
        taken = 1 + item % steps
        if ends == 1:
            terminated[item, taken - 1] = 1
        reward[item, taken:] = 0
        rows[item] = taken + 1
    return observation, action, reward, terminated, rows


def target(net, lagged, next_o, rewards, terminations, taken, double):
    y, discount = 0.0, 1.0
    for step in range(taken):
        y += discount * rewards[step].item()
        discount *= DISCOUNT
        if terminations[step] == 1:
            return y
    best = (net if double else lagged)(next_o).argmax()
    return y + discount * lagged(next_o)[best].item()


def run(name, steps, double, huber, tau, weighted):
    net, lagged = network(), network()
    lagged.load_state_dict(net.state_dict())
    optimizer = torch.optim.Adam(net.parameters(), RATE)
    put_network(f"{name}/initial/network", net)
    for i in range(UPDATES):
        observation, action, reward, terminated, rows = experience(steps)
        weights = torch.rand(BATCH).float().double() if weighted else torch.ones(BATCH)
        y = torch.tensor([target(net, lagged, observation[b, 1], reward[b], terminated[b], rows[b] - 1, double)
                          for b in range(BATCH)])
        for column, tensor in [("observation", observation), ("action", action), ("reward", reward),
                               ("terminated", terminated), ("rows", rows), ("weights", weights), ("target", y)]:
            put(f"{name}/update{i}/{column}", tensor)
        q = net(observation[:, 0])[torch.arange(BATCH), action]
        put(f"{name}/update{i}/q", q)
        error = (q - y).abs()
        losses = torch.where(error <= 1, error**2 / 2, error - 0.5) if huber else error**2 / 2
        loss = (weights * losses).mean()
        put(f"{name}/update{i}/loss", loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (i + 1) % TARGET_INTERVAL == 0:
            with torch.no_grad():
                for old, new in zip(lagged.parameters(), net.parameters()):
                    old.copy_((1 - tau) * old + tau * new)
    put_network(f"{name}/final/network", net)
    put_network(f"{name}/final/target_network", lagged)


put_header("dqn.py")
for variant in VARIANTS:
    run(*variant)
