"""Group-relative advantages, and their integration over granularities and rewards.

    A_i = clamp( sum over rewards and granularities of  weight (r_i - mean) / divisor )

for branch i of a group. Source: G²RPO, arXiv:2510.01982, eq. 11; the group normalisation is that of GRPO,
arXiv:2402.03300. Deviation: the divisor of a group is never below a floor; with `std + 1e-8` alone, rounding errors
become advantages; see `spread_floors` and `divisor`.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from g2rpo.types import Rewards

Key = tuple[str, int]
"""A reward at a granularity, as ("judge_a", 2)."""

Fusion = Literal["sum", "mean"]
Normalise = Literal["each", "mixed"]

MIXED = "mixed"
"""In place of a reward's name: the sum of all rewards, weighted, in their own units."""

_ROUNDING = 1e-5  # of the largest reward of a group: equal pictures in other batches differ by about 1e-6 of it


@dataclass(frozen=True)
class IntegrationRule:
    """How the rewards of a group become its advantages.

    Example: rewards of weights {"hps": 1.0, "clip": 2.0} at granularities of weights {1: 1.0, 3: 0.5}, `sum` and
    `each`: the standardised clip of granularity 3 counts once, that of granularity 1 twice.
    """

    reward_weights: Mapping[str, float]
    granularity_weights: Mapping[int, float]
    fusion: Fusion
    """`sum`, as in the paper, or `mean`: the sum over the sum of its weights."""
    normalise: Normalise
    """`each`: every reward is standardised within its group, then summed. `mixed`: rewards are summed in their own
    units, then standardised."""
    std_floor_frac: float
    """Least spread to divide by, as a share of the pooled spread of all groups; at least 0."""
    std_eps: float
    """Added to that spread, in the units of the reward."""
    clamp: float
    """Largest magnitude of an advantage; 5 in the paper."""

    def __post_init__(self) -> None:
        for name, weights in (("reward", self.reward_weights), ("granularity", self.granularity_weights)):
            if not any(weights.values()) or min(weights.values()) < 0:
                raise ValueError(
                    f"The {name} weights must be at least 0 and one above 0, got {dict(weights)}. "
                    f"Set integrate.{name}_weights so."
                )
        if self.clamp <= 0:
            raise ValueError(f"An advantage clamp is above 0, got clamp={self.clamp}. Use 5 as in the paper.")


@dataclass(frozen=True)
class GroupSpread:
    """Mean, spread and magnitude of a group's rewards. Example: (1, 2, 3) have mean 2, std 1, largest 3."""

    mean: float
    std: float
    """Sample std, n - 1 in the denominator; exactly 0 where all are equal."""
    largest: float
    """Largest magnitude."""


def group_spread(rewards: Rewards) -> GroupSpread:
    """Return mean, spread and magnitude of a group's rewards. The std is the sample std, as in the published code.

    Args:
        rewards: One reward per branch, fp32 or fp64.

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
    equal = bool((values == values[0]).all())
    std = 0.0 if equal else float(values.std(correction=1))
    return GroupSpread(mean=float(values.mean()), std=std, largest=float(values.abs().max()))


@dataclass(frozen=True)
class Divisor:
    """What the rewards of a group are divided by, and whether a floor replaces their own spread.

    Example: std 0.001 under a floor of 0.002 is divided by 0.002, floored.
    """

    value: float
    floored: bool


def divisor(spread: GroupSpread, *, floor: float, eps: float) -> Divisor:
    """Return what the rewards of a group are divided by, once shifted by their mean.

        divisor = max(std, floor, 1e-5 max|r|) + eps.

    The last floor is the resolution of rewards that are computed in single precision: a smaller spread is rounding.
    A floor of 0 and a spread above that resolution give the published law: to the bit where it too is computed in fp64,
    as here. The published codes compute it in the precision of their rewards, fp32.

    Args:
        floor: In the units of the reward, at least 0; see `spread_floors`.
        eps: In the units of the reward.
    """
    least = max(floor, _ROUNDING * spread.largest)
    return Divisor(max(spread.std, least) + eps, floored=spread.std < least)


def signals(values: Mapping[Key, Rewards], rule: IntegrationRule) -> dict[Key, Rewards]:
    """Return the values of a group that are standardised together, by (reward, granularity).

    `each`: every reward at every granularity. `mixed`: at each granularity, under the name MIXED, the sum of the
    rewards in their own units, each times its weight.

    Args:
        values: Rewards of the group's branches, shape (b,).

    Raises:
        ValueError: If there are no values, or a reward or a granularity has no weight.
    """
    _require_weights(values, rule)
    if rule.normalise == "each":
        return dict(values)
    mixed = dict[Key, Rewards]()
    for (reward, granularity), value in values.items():
        term = rule.reward_weights[reward] * value.to(torch.float64)
        key = (MIXED, granularity)
        mixed[key] = mixed[key] + term if key in mixed else term
    return mixed


def spread_floors(groups: Iterable[Mapping[Key, Rewards]], rule: IntegrationRule) -> dict[Key, float]:
    """Return the least spread of a group by key of `signals`: a share of the spread pooled over the groups.

        floor = std_floor_frac sqrt( mean over groups of std^2 ).

    So a group whose branches are nearly alike counts for less instead of being blown up to the size of the others,
    whatever the units of the reward: its standardised rewards are at most (n - 1) / sqrt(n) times std / floor. A
    reward whose groups all have a small spread is not floored by this. The order of the groups changes no bit.

    Args:
        groups: The rewards of all groups that are compared with each other: those of a round.

    Raises:
        ValueError: As `signals` and `group_spread`.
    """
    variances = dict[Key, list[float]]()
    for values in groups:
        for key, value in signals(values, rule).items():
            variances.setdefault(key, []).append(group_spread(value).std ** 2)
    return {
        key: rule.std_floor_frac * math.sqrt(math.fsum(squares) / len(squares)) for key, squares in variances.items()
    }


@dataclass(frozen=True)
class Summand:
    """What one reward at one granularity adds to the advantages of a group: `weight` times `standardised`.

    Example: rewards (1, 2, 3) at weight 2 are standardised (-1, 0, 1) and add (-2, 0, 2).
    """

    standardised: Rewards
    """(r - mean) / divisor, shape (b,); exactly 0 where all rewards are equal."""
    weight: float
    spread: GroupSpread
    divisor: Divisor
    """Of this reward, or of the mixed ones, in their units."""


def summands(values: Mapping[Key, Rewards], rule: IntegrationRule, floors: Mapping[Key, float]) -> dict[Key, Summand]:
    """Return what each reward at each granularity adds to the advantages of a group; the advantages are their sum.

        each:   A_i = sum_reward sum_lambda w_reward w_lambda (r_i - mean) / divisor(r)
        mixed:  A_i = sum_lambda w_lambda (R_i - mean) / divisor(R),    R = sum_reward w_reward r

    for `sum`, before the clamp. R is a sum, so `mixed` too falls into terms w_reward w_lambda (r_i - mean) / divisor,
    with the divisor of R. A reward that is shifted or scaled gives the same advantages by `each`; by `mixed` it counts
    as much as it spreads in its own units. `mean` divides by the weights that stand outside of a standardised value:
    sum_reward sum_lambda w_reward w_lambda for `each`, sum_lambda w_lambda for `mixed`.

    Source: eq. 11 is `each`, `sum` and weights of 1.

    Args:
        values: As `signals` takes them.
        floors: As `spread_floors` gives them.

    Raises:
        ValueError: As `signals` and `group_spread`.
    """
    divisors = {
        key: divisor(group_spread(value), floor=floors[key], eps=rule.std_eps)
        for key, value in signals(values, rule).items()
    }
    whole = _whole(values, rule)
    result = dict[Key, Summand]()
    for (reward, granularity), value in values.items():
        spread = group_spread(value)
        group_divisor = divisors[reward if rule.normalise == "each" else MIXED, granularity]
        exact = value.to(torch.float64)
        shifted = exact - spread.mean if spread.std > 0 else torch.zeros_like(exact)
        weight = rule.reward_weights[reward] * rule.granularity_weights[granularity] / whole
        result[reward, granularity] = Summand(shifted / group_divisor.value, weight, spread, group_divisor)
    return result


@dataclass(frozen=True)
class Integrated:
    """The advantage of each branch of a group, shape (b,), and where the clamp cut it.

    Example: summands +4 and +2 with clamp 5 give advantage 5, clamped True.
    """

    advantage: Tensor
    clamped: Tensor


def integrate(added: Iterable[Summand], *, clamp: float) -> Integrated:
    """Return the sum of summands, each its weight times its standardised rewards, within ±clamp."""
    total = torch.stack([summand.weight * summand.standardised for summand in added]).sum(0)
    return Integrated(advantage=total.clamp(-clamp, clamp), clamped=total.abs() > clamp)


def _whole(values: Mapping[Key, Rewards], rule: IntegrationRule) -> float:
    """Return what the sum is divided by: 1, or for the mean the weights that stand outside of a standardised value."""
    if rule.fusion == "sum":
        return 1.0
    outside = {key: rule.granularity_weights[key[1]] for key in signals(values, rule)}
    if rule.normalise == "each":
        outside = {key: weight * rule.reward_weights[key[0]] for key, weight in outside.items()}
    return math.fsum(outside.values())


def _require_weights(values: Mapping[Key, Rewards], rule: IntegrationRule) -> None:
    if not values:
        raise ValueError("An advantage needs at least one reward and one granularity, got none.")
    for name, weights, used in (
        ("reward", rule.reward_weights, [reward for reward, _ in values]),
        ("granularity", rule.granularity_weights, [granularity for _, granularity in values]),
    ):
        missing = ", ".join(dict.fromkeys(str(key) for key in used if key not in weights))
        if missing:
            raise ValueError(f"Each {name} needs a weight, got none for {missing}. Set integrate.{name}_weights.")
