"""One step of one number, in double precision."""

import torch

from g2rpo.sde import transition


def levels(*values):
    return torch.tensor(values, dtype=torch.float64)


def one_step(sde, x, v, sigma, sigma_next, *, eta, sigma_max=0.9):
    """The law of a step from one number."""
    return transition(
        sde,
        levels(x).reshape(1, 1),
        levels(v).reshape(1, 1),
        sigma=levels(sigma),
        sigma_next=levels(sigma_next),
        eta=eta,
        sigma_max=sigma_max,
    )
