"""Guards on the metrics of the last round."""

import math
from statistics import median

from flows.guards.history import History

_EARLIER = 5  # rounds that a median needs

CALMER = "lower update.learning_rate or update.max_grad_norm, or set resources.dtype to float32."
"""The remedy for numbers that diverge."""


def non_finite(history: History) -> str | None:
    """Report a metric that is not finite."""
    bad = sorted(name for name, value in history.last.items() if not math.isfinite(value))
    if not bad:
        return None
    values = ", ".join(f"{name} {history.last[name]}" for name in bad)
    return f"Finite numbers are required, got {values}. To keep them finite, {CALMER}"


def exploding(history: History) -> str | None:
    """Report a gradient that is far larger than those before it."""
    norms = [row["update/grad_norm"] for row in history.rounds]
    if len(norms) <= _EARLIER:
        return None
    usual, times = median(norms[:-1]), history.guards.exploding.times
    if usual == 0 or not norms[-1] > times * usual:  # 0: groups without spread, which zero_spread reports
        return None
    return (
        f"The gradient norm is {norms[-1]:.3g}, {norms[-1] / usual:.3g} times its median of {usual:.3g}: the policy "
        f"diverges. To prevent this, {CALMER}"
    )


def ratio(history: History) -> str | None:
    """Report a first optimizer step whose importance ratios are not 1."""
    gap = history.last.get("update/first_ratio_gap", 0.0)
    if history.params.placement.staleness or not gap > history.guards.ratio.gap:
        return None
    return (
        f"The importance ratios of the first optimizer step must be 1, got a gap of {gap:.2g}: rollout and update "
        "compute the same log-probabilities differently. Set resources.dtype to float32, or the same micro_batch in "
        "rollout and update; a gap of up to a hundredth of update.clip_range does no harm."
    )


def zero_spread(history: History) -> str | None:
    """Report groups whose rewards are all equal, from which nothing can be learned."""
    guard = history.guards.zero_spread
    last = [row["advantage/zero_spread_frac"] for row in history.rounds[-guard.rounds :]]
    if len(last) < guard.rounds or min(last) < guard.frac:
        return None
    return (
        f"In the last {guard.rounds} rounds at least {min(last):.0%} of the groups had equal rewards for all "
        "members: there is nothing to learn from them. Raise rollout.eta or rollout.group_size, use a finer reward, or "
        "prompts that are neither too easy nor too hard."
    )


def kl(history: History) -> str | None:
    """Report a policy that is far from its base."""
    most, value = history.guards.kl.most, history.last.get("update/kl", 0.0)
    if not value > most:
        return None
    return (
        f"The KL to the base is {value:.3g} nats per latent element, more than {most:.3g}: the policy moves far "
        "away from the base. Set update.kl_weight, or lower update.learning_rate."
    )


def clip_frac(history: History) -> str | None:
    """Report a round in which most ratios were clipped."""
    most, value = history.guards.clip_frac.most, history.last.get("update/clip_frac", 0.0)
    if not value > most:
        return None
    return (
        f"{value:.0%} of the importance ratios were clipped, more than {most:.0%}: most of the round's later steps "
        "learn nothing. Lower update.learning_rate or update.num_epochs, or raise update.clip_range."
    )
