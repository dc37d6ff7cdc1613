"""Noise levels of a trajectory.

A schedule is `sigmas`, which falls from 1 (noise) to 0 (data) in `num_steps` steps; step k leads from
`sigmas[k]` to `sigmas[k + 1]`. Source: the shift is the resolution shift of Esser et al., arXiv:2403.03206.
"""

import torch
from torch import Tensor


def shifted_sigmas(num_steps: int, shift: float) -> Tensor:
    """Return the levels of a schedule, fp64, shape (num_steps + 1,), falling from 1 to 0.

        sigmas = s t / (1 + (s - 1) t),    t = linspace(1, 0, num_steps + 1).

    `shift = 1` is the even schedule; more shift spends more steps at high noise.

    Args:
        num_steps: Steps of the trajectory, at least 1.
        shift: s, above 0.

    Raises:
        ValueError: If an argument is out of its range.
    """
    if num_steps < 1:
        raise ValueError(f"A trajectory needs at least 1 step, got num_steps={num_steps}. Raise it.")
    if shift <= 0:
        raise ValueError(f"A schedule needs shift > 0, got shift={shift}. Use 1 for an even schedule.")
    times = torch.linspace(1.0, 0.0, num_steps + 1, dtype=torch.float64)
    return shift * times / (1 + (shift - 1) * times)
