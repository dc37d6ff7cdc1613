"""Noise levels of a trajectory, and the strides by which a branch reaches the picture.

A schedule is `sigmas`, which falls from 1 (noise) to 0 (data) in `num_steps` steps; step k leads from
`sigmas[k]` to `sigmas[k + 1]`. A path is the list of the indices that a completion visits.

Sources: the shift is the resolution shift of Esser et al., arXiv:2403.03206; the granularities are those
of G²RPO, arXiv:2510.01982.
"""

from typing import Literal

import torch
from torch import Tensor

StrideRule = Literal["fine_first", "even", "published", "from_clean"]


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


def completion_path(num_steps: int, start: int, granularity: int, rule: StrideRule) -> tuple[int, ...]:
    """Return the indices that a completion visits, from `start` to `num_steps` (sigma = 0), both included.

    With lambda the granularity, k + 1 = start and T = num_steps:

    - `fine_first` (ours): k+1, k+2, then every lambda-th index, and T at the end.
    - `even`: every lambda-th index from k+1, and T at the end.
    - `published`: the indices of the authors' code, k+1 and `range(k+2, T+1, lambda)`; their picture is the
      x0-prediction at the last evaluated level, which is an ODE step from there to 0, so the last index of
      that list gives way to T.
    - `from_clean`: the paper's wording; the strides are counted back from T, the first one may be shorter.

    `granularity = 1` visits every index under each rule; with `start = 0` it is plain ODE sampling.
    Example: T=8, start=2, lambda=2: (2,3,5,7,8), (2,4,6,8), (2,3,5,8), (2,4,6,8).

    Raises:
        ValueError: If not 0 <= start <= num_steps, or granularity < 1.
    """
    if not 0 <= start <= num_steps:
        raise ValueError(f"A completion starts on the trajectory: 0 <= start <= {num_steps}, got {start}.")
    if granularity < 1:
        raise ValueError(f"A granularity is a stride of at least 1 step, got {granularity}. Raise it.")
    end = num_steps
    if rule == "fine_first":
        between = range(start + 1, end, granularity)
    elif rule == "even":
        between = range(start + granularity, end, granularity)
    elif rule == "published":
        between = range(start + 1, end + 1, granularity)[:-1]
    else:
        between = [index for index in range(start + 1, end) if (end - index) % granularity == 0]
    return (start, *between, end) if start < end else (end,)
