"""Group-relative advantages, and their integration over granularities and rewards.

Source: G²RPO, arXiv:2510.01982, eq. 11; the group normalisation is that of GRPO,
arXiv:2402.03300.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from g2rpo.types import Rewards


@dataclass(frozen=True)
class GroupScores:
    """How the rewards of one group compare: one standardised value a branch, and what they were measured by.

    Example: rewards (1, 2, 3) give standardised (-1, 0, 1), mean 2, std 1. A group that says nothing has std 0.
    """

    standardised: Rewards
    mean: float
    std: float


def group_scores(rewards: Rewards, *, eps: float) -> GroupScores:
    """Return the rewards of one group, shifted by its mean and divided by its spread.

        standardised = (r - mean) / (std + eps),    std with n - 1 in the denominator (sample std).

    The sample std is what the published code takes (`torch.std`). A group whose rewards are all equal gives
    exactly 0, where dividing rounding errors by `eps` would give noise.

    Args:
        rewards: One reward a branch, fp32 or fp64.
        eps: Added to the std, in the units of the reward.

    Raises:
        ValueError: If there are fewer than 2 rewards, or one of them is not a finite number.
    """
    if len(rewards) < 2:
        raise ValueError(
            f"A group needs at least 2 samples to be compared, got group_size={len(rewards)}. "
            "Raise rollout.group_size in params.yaml."
        )
    values = rewards.to(torch.float64)
    if not bool(torch.isfinite(values).all()):
        raise ValueError(f"Rewards must be finite numbers, got {rewards.tolist()}. Look at the reward model.")
    mean = values.mean()
    if bool((values == values[0]).all()):
        return GroupScores(torch.zeros_like(values), mean=float(mean), std=0.0)
    std = values.std(correction=1)
    return GroupScores((values - mean) / (std + eps), mean=float(mean), std=float(std))


@dataclass(frozen=True)
class Integrated:
    """The advantage of each branch of a group, shape (b,), and where the clamp cut it.

    Example: summands +4 and +2 with clamp 5 give advantage 5, clamped True.
    """

    advantage: Tensor
    clamped: Tensor


def integrate(
    summands: Mapping[tuple[str, int], Tensor], *, reward_weights: Mapping[str, float], clamp: float
) -> Integrated:
    """Return the sum over rewards and granularities of a group's standardised rewards, within ±clamp.

        A_i = clamp( sum_reward w_reward sum_lambda standardised_i(reward, lambda) ).

    Source: eq. 11; weights of 1 are the published plain sum.

    Args:
        summands: Standardised values, shape (b,), by (reward, granularity).
        reward_weights: w by reward; each reward of `summands` needs one.
        clamp: Largest magnitude of an advantage, above 0.

    Raises:
        ValueError: If there is nothing to sum, a weight is missing or the clamp is not positive.
    """
    if not summands:
        raise ValueError("An advantage needs at least one reward and one granularity, got none.")
    if clamp <= 0:
        raise ValueError(f"An advantage clamp is above 0, got clamp={clamp}. Use 5 as in the paper.")
    missing = sorted({reward for reward, _ in summands} - set(reward_weights))
    if missing:
        raise ValueError(f"Each trained reward needs a weight, got none for {', '.join(missing)}.")
    total = torch.stack([reward_weights[reward] * value for (reward, _), value in summands.items()]).sum(0)
    return Integrated(advantage=total.clamp(-clamp, clamp), clamped=total.abs() > clamp)
