"""Windows of stochastic steps: what makes G²RPO, MixGRPO, Flow-GRPO and DanceGRPO one family.

A window is the steps of a trajectory that are stochastic and trained, ascending; all other steps are the ODE's. A group
is the branches of one prompt that share a window: they are compared with each other, and the advantage of a
trajectory is given to every step of its window. A window is named by its first step.

Sources: G²RPO, arXiv:2510.01982, one window of one step for each k in M; MixGRPO, arXiv:2507.21802, a window that
slides; Flow-GRPO, arXiv:2505.05470, and DanceGRPO, arXiv:2505.07818, one window over the whole trajectory.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from g2rpo.positions import position_seed

Window = tuple[int, ...]
WindowSchedule = Literal["progressive", "random"]


def one_step_windows(steps: Sequence[int]) -> tuple[Window, ...]:
    """Return a window of one step for each step, in the order given. Example: (0, 2) gives ((0,), (2,))."""
    return tuple((step,) for step in steps)


def drawn_steps(
    steps: Sequence[int], *, count: int, weights: Sequence[float] | None, round_number: int, seed: int
) -> Window:
    """Return the steps that a round branches at: some of M, drawn without repetition, in the order of M.

    Args:
        steps: M.
        count: How many, at most their number; all of them are no draw.
        weights: Of each step in the draw, above 0, as the reward spread that was measured there; None draws evenly.
        round_number: The round.
        seed: Of the run.

    Raises:
        ValueError: If `count` is below 1 or above their number.
    """
    if not 1 <= count <= len(steps):
        raise ValueError(f"A round draws its steps from M: 1 to {len(steps)} of them, got {count}. Lower it.")
    if count == len(steps):
        return tuple(steps)
    share = np.array([1.0] * len(steps) if weights is None else weights)
    random = np.random.default_rng(position_seed("steps", seed, round_number))
    places = random.choice(len(steps), size=count, replace=False, p=share / share.sum())
    return tuple(steps[place] for place in sorted(places))


def whole_window(steps: Sequence[int]) -> tuple[Window, ...]:
    """Return the one window that has all of the steps, ascending."""
    return (tuple(sorted(steps)),)


def sliding_window(
    steps: Sequence[int],
    *,
    size: int,
    stride: int,
    interval: int,
    schedule: WindowSchedule,
    round_number: int,
    seed: int,
) -> tuple[Window, ...]:
    """Return the one window of a round, which slides over the steps.

    The window stays for `interval` rounds and then moves: `progressive` by `stride` steps towards the picture, from
    the last place back to the first; `random` to a place drawn from all of them.
    Example: steps 0..4, size 2, stride 1, interval 3: (0, 1) in rounds 0 to 2, (1, 2) in rounds 3 to 5.

    Args:
        steps: What the window slides over, ascending.
        size: w, steps of the window, at most their number.
        stride: s, steps by which it moves.
        interval: tau, rounds at a place.
        schedule: How it moves.
        round_number: The round, counted from 0.
        seed: Of the run; `random` depends on it.

    Raises:
        ValueError: If the window is larger than what it slides over.
    """
    if not 1 <= size <= len(steps):
        raise ValueError(
            f"A window slides over at least as many steps as it has, got size {size} over {len(steps)}. Lower it."
        )
    last, place = len(steps) - size, round_number // interval
    if schedule == "random":
        start = int(np.random.default_rng(position_seed("window", seed, place)).integers(last + 1))
    else:
        start = min(place % (-(-last // stride) + 1) * stride, last)
    return (tuple(steps[start : start + size]),)


def trained_steps(window: Window, frac: float, seed: int, branch: int) -> Window:
    """Return the steps of its window that a branch is trained on: a share of them, drawn anew for each branch.

    It is the whole number below `frac` times the window's steps, at least 1. Source: the code of DanceGRPO, frac 0.6.
    Example: a window of 7 steps and frac 0.6 train 4 of them.

    Args:
        window: The stochastic steps.
        frac: Their share, in (0, 1].
        seed: Of the prompt's noise.
        branch: Whose draw it is.
    """
    count = max(1, int(frac * len(window) + 1e-9))
    if count == len(window):
        return window
    order = np.random.default_rng(position_seed("trained steps", seed, window[0], branch)).permutation(len(window))
    return tuple(sorted(window[place] for place in order[:count]))
