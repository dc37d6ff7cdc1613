"""Guards that look at the numbers of the last round."""

import math
from statistics import median

from flows.guards.history import History

_EARLIER = 5  # rounds before a median says anything

CALMER = "lower update.learning_rate or update.max_grad_norm, or take resources.dtype float32."
"""What helps against numbers that come apart."""


def non_finite(history: History) -> str | None:
    """Tell of a metric that is no finite number."""
    bad = sorted(name for name, value in history.last.items() if not math.isfinite(value))
    if not bad:
        return None
    named = ", ".join(f"{name} {history.last[name]}" for name in bad)
    return f"Finite numbers are required, got {named}. To keep them so, {CALMER}"


def exploding(history: History) -> str | None:
    """Tell of a gradient far larger than those before it."""
    norms = [row["update/grad_norm"] for row in history.rounds]
    if len(norms) <= _EARLIER:
        return None
    usual, times = median(norms[:-1]), history.guards.exploding.times
    if usual == 0 or not norms[-1] > times * usual:  # 0: groups without a difference, of which zero_spread tells
        return None
    return (
        f"The gradient's norm is {norms[-1]:.3g}, {norms[-1] / usual:.3g} times its median of {usual:.3g}: the policy "
        f"comes apart. To keep it together, {CALMER}"
    )


def ratio(history: History) -> str | None:
    """Tell of a first optimizer step whose importance ratios are not 1."""
    gap = history.last.get("update/first_ratio_gap", 0.0)
    if history.params.placement.staleness or not gap > history.guards.ratio.gap:
        return None
    return (
        f"The importance ratios of the first optimizer step must be 1, got a distance of {gap:.2g}: rollout and update "
        "compute the same log-probabilities differently. Take resources.dtype float32, or the same micro_batch in "
        "rollout and update; up to a hundredth of update.clip_range it does no harm."
    )


def zero_spread(history: History) -> str | None:
    """Tell of groups without a difference, of which nothing can be learned."""
    guard = history.guards.zero_spread
    last = [row["advantage/zero_spread_frac"] for row in history.rounds[-guard.rounds :]]
    if len(last) < guard.rounds or min(last) < guard.frac:
        return None
    return (
        f"In the last {guard.rounds} rounds at least {min(last):.0%} of the groups had one reward for all their "
        "members: there is nothing to learn from them. Raise rollout.eta or rollout.group_size, take a reward that "
        "tells finer, or prompts that are neither too easy nor too hard."
    )


def kl(history: History) -> str | None:
    """Tell of a policy that is far from its base."""
    most, found = history.guards.kl.most, history.last.get("update/kl", 0.0)
    if not found > most:
        return None
    return (
        f"The KL to the base is {found:.3g} nats per latent element, over the budget of {most:.3g}: the policy moves "
        "away from what the base can paint. Set update.kl_weight, or lower update.learning_rate."
    )


def clip_frac(history: History) -> str | None:
    """Tell of a round in which most ratios were clipped."""
    most, found = history.guards.clip_frac.most, history.last.get("update/clip_frac", 0.0)
    if not found > most:
        return None
    return (
        f"{found:.0%} of the importance ratios were clipped, over {most:.0%}: most of the round's later steps learn "
        "nothing. Lower update.learning_rate or update.num_epochs, or raise update.clip_range."
    )
