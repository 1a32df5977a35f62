"""Golden numbers for soft actor-critic: a second implementation, in float64, with autograd and separate critics.

    python tests/golden/sac.py > tests/golden/sac.textproto

It is written from the paper (arXiv:1812.05905) and shares nothing with algorithm/sac.cc but the order of the steps:
critics, policy, temperature, target networks, all with the temperature from before the update. The file holds the
initial parameters, batches and noise of every update, the metrics after each, and the final parameters.
"""

import math

import torch
from tensors import put, put_header
from torch import nn

OBSERVATION, ACTION, HIDDEN, BATCH, UPDATES = 3, 2, 8, 5, 4
DISCOUNT, TAU, REWARD_SCALE, INITIAL_TEMPERATURE, TARGET_ENTROPY = 0.9, 0.05, 2.0, 0.3, -1.5
ACTOR_RATE, CRITIC_RATE, TEMPERATURE_RATE = 1e-3, 2e-3, 3e-3

torch.manual_seed(1)
torch.set_default_dtype(torch.float64)


def network(inputs, outputs):
    return nn.Sequential(
        nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, outputs)
    )


def act(actor, s, noise):
    mean, x = actor(s).chunk(2, -1)
    log_sigma = -5 + 3.5 * (torch.tanh(x) + 1)
    distribution = torch.distributions.Normal(mean, log_sigma.exp())
    u = mean + log_sigma.exp() * noise
    a = torch.tanh(u)
    log_prob = distribution.log_prob(u) - torch.log(1 - a**2)
    return a, log_prob.sum(-1)


def value(critic, s, a):
    return critic(torch.cat([s, a], -1)).squeeze(-1)


def put_networks(prefix, networks):
    """Our layout: weights are [in, out], an ensemble's parameters have its members as the first dimension."""
    for layer in range(3):
        weight = torch.stack([n[2 * layer].weight.t() for n in networks])
        bias = torch.stack([n[2 * layer].bias for n in networks])
        single = len(networks) == 1
        put(f"{prefix}/layer{layer}/weight", weight[0] if single else weight)
        put(f"{prefix}/layer{layer}/bias", bias[0] if single else bias)


def put_all(prefix, actor, critics, targets, log_alpha):
    put_networks(f"{prefix}/actor", [actor])
    put_networks(f"{prefix}/critics", critics)
    put_networks(f"{prefix}/target_critics", targets)
    put(f"{prefix}/log_temperature", log_alpha)


def main():
    actor = network(OBSERVATION, 2 * ACTION)
    critics = [network(OBSERVATION + ACTION, 1) for _ in range(2)]
    targets = [network(OBSERVATION + ACTION, 1) for _ in range(2)]
    log_alpha = torch.tensor(math.log(INITIAL_TEMPERATURE), requires_grad=True)
    actor_optimizer = torch.optim.Adam(actor.parameters(), ACTOR_RATE)
    critic_optimizer = torch.optim.Adam([p for c in critics for p in c.parameters()], CRITIC_RATE)
    temperature_optimizer = torch.optim.Adam([log_alpha], TEMPERATURE_RATE)
    put_header("sac.py")
    put_all("initial", actor, critics, targets, log_alpha)

    for i in range(UPDATES):
        # As the columns travel: in single precision.
        observation = torch.randn(BATCH, 2, OBSERVATION).float().double()
        a = torch.tanh(torch.randn(BATCH, ACTION)).float().double()
        r = torch.randn(BATCH).float().double()
        terminated = (torch.arange(BATCH) % 3 == i % 3).double()
        noise = torch.randn(2 * BATCH, ACTION).float().double()
        s, next_s = observation[:, 0], observation[:, 1]
        for name, tensor in [("observation", observation), ("action", a), ("reward", r), ("terminated", terminated),
                             ("noise", noise)]:
            put(f"update{i}/{name}", tensor)

        alpha = log_alpha.exp().detach()
        with torch.no_grad():
            next_a, next_log_prob = act(actor, next_s, noise[BATCH:])
            next_q = torch.minimum(*[value(t, next_s, next_a) for t in targets])
            y = REWARD_SCALE * r + DISCOUNT * (1 - terminated) * (next_q - alpha * next_log_prob)
        qs = [value(c, s, a) for c in critics]
        critic_loss = sum(0.5 * ((q - y) ** 2).mean() for q in qs)
        critic_optimizer.zero_grad()
        critic_loss.backward()
        critic_optimizer.step()

        new_a, log_prob = act(actor, s, noise[:BATCH])
        actor_loss = (alpha * log_prob - torch.minimum(*[value(c, s, new_a) for c in critics])).mean()
        actor_optimizer.zero_grad()
        actor_loss.backward()
        actor_optimizer.step()

        temperature_loss = -(log_alpha * (log_prob.detach() + TARGET_ENTROPY)).mean()
        temperature_optimizer.zero_grad()
        temperature_loss.backward()
        temperature_optimizer.step()

        with torch.no_grad():
            for target, critic in zip(targets, critics):
                for old, new in zip(target.parameters(), critic.parameters()):
                    old.copy_((1 - TAU) * old + TAU * new)
        q_mean = torch.stack(qs).mean()
        put(f"update{i}/metrics",
            torch.stack([critic_loss, actor_loss, temperature_loss, alpha, -log_prob.mean(), q_mean]))

    put_all("final", actor, critics, targets, log_alpha)


main()
