"""Guards on the course of a run: the last rounds against the first, the last evaluation against the best."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flows.guards.history import WINDOW, History, Scores
from stages.readings.metrics import trained_rewards

_FEWEST = 32  # prompts; with fewer a standard error says little


def fallen(history: History, reward: str) -> float:
    """Return how far a trained reward has fallen, in units of its spread within groups.

        fallen = (mean of the first 10 rounds - mean of the last 10) / spread in the first 10,

    negative if it has risen, 0 for fewer than 20 rounds or a reward without spread.
    """
    means = history.first_and_last(f"reward/{reward}/mean")
    if means is None:
        return 0.0
    first, last = means
    spread = sum(_spread(metrics, reward) for metrics in history.rounds[:WINDOW]) / WINDOW
    return (first - last) / spread if spread > 0 else 0.0


def fall_in_standard_errors(before: Scores, now: Scores, rewards: Sequence[str]) -> float:
    """Return how significantly rewards have fallen: the mean paired difference over its standard error.

    A prompt's difference is the mean over the rewards, each in units of its standard deviation over the
    prompts in `before`. Positive if they have fallen; 0 if nothing has changed, or for fewer than 32 prompts.
    """
    if len(before[rewards[0]]) < _FEWEST:
        return 0.0
    lost = _lost(before, now, rewards)
    mean, error = float(lost.mean()), float(lost.std(ddof=1)) / math.sqrt(len(lost))
    return mean / error if error > 0 else math.copysign(math.inf, mean) if mean else 0.0


def share_lost(base: Scores, best: Scores, now: Scores, rewards: Sequence[str]) -> float:
    """Return the share of their gain that rewards have lost again, in the units of `fall_in_standard_errors`.

        share = (best - now) / (best - base)

    Infinite if they have fallen without a gain before.
    """
    gained, lost = (float(_lost(best, other, rewards).mean()) for other in (base, now))
    return lost / gained if gained > 0 else math.inf if lost > 0 else 0.0


def reward_collapse(history: History) -> str | None:
    """Report a trained reward that falls.

    Advantages compare the branches of a group with each other only, so harm to all of them alike shows in no
    advantage. It shows in the level of the reward, on the round's pictures and on the held-out prompts. Why this
    happens: docs/log.md, the reward of tiny spread.
    """
    guard = history.guards.reward_collapse
    for reward in trained_rewards(history.last):
        fall = fallen(history, reward)
        if fall > guard.spreads:
            by = f"{fall:.1f} times its spread within groups since the first {WINDOW} rounds"
            return f"The trained reward {reward} has fallen by {by}. {_REMEDY}"
        below = _below_base(history, reward)
        if below > guard.standard_errors:
            return (
                f"The trained reward {reward} is {below:.1f} standard errors below the base on the held-out prompts. "
                f"{_REMEDY}"
            )
    return None


def reward_hacking(history: History) -> str | None:
    """Report held-out rewards that fall while a trained reward is above the base.

    The last evaluation is compared with that of the best round, prompt by prompt, over all rewards of
    `evaluate.rewards` that are not trained on. The best of many evaluations is a lucky one, and some fall after it is
    certain: so the fall must also be large against the gain.
    """
    guard, trained, by = history.guards.reward_hacking, history.params.score.rewards, history.params.evaluate.choose_by
    untrained = [name for name in history.params.evaluate.rewards if name not in trained]
    if not untrained or len(history.held_out) < 3:
        return None
    last = max(history.held_out)
    best = max(history.held_out, key=lambda number: (history.held_out[number][by].mean(), -number))
    now, then, base = (history.held_out[number] for number in (last, best, 0 if 0 in history.held_out else best))
    risen = [name for name in trained if name in now and now[name].mean() > base[name].mean()]
    fall = fall_in_standard_errors(then, now, untrained)
    if not risen or fall <= guard.standard_errors:
        return None
    lost = share_lost(base, then, now, untrained)
    if lost <= guard.frac:
        return None
    falls = ", ".join(f"{name} {then[name].mean():.3f} -> {now[name].mean():.3f}" for name in untrained)
    rise = ", ".join(f"{name} {base[name].mean():.3f} -> {now[name].mean():.3f}" for name in risen)
    gain = f"{lost:.0%} of their gain" if lost <= 1 else "more than their gain"
    return (
        f"Held-out rewards have lost {gain} since round {best} ({falls}; {fall:.1f} standard errors), while trained "
        f"rewards are above the base ({rise}): the policy exploits the reward, and its pictures do not get better. "
        "Lower update.learning_rate, set update.kl_weight, train on several rewards, or keep the best round."
    )


def diversity(history: History) -> str | None:
    """Report groups whose pictures become alike."""
    means = history.first_and_last("diversity/mean")
    if means is None:
        return None
    first, last = means
    if not last < history.guards.diversity.frac * first:
        return None
    return (
        f"The diversity of a group's pictures has fallen to {last:.3g} from {first:.3g} in the first {WINDOW} rounds, "
        "to {:.0%}: the policy makes similar pictures from every noise, so groups have less to compare. Lower "
        "update.learning_rate, set update.kl_weight, or raise rollout.eta.".format(last / first)
    )


def _lost(before: Scores, now: Scores, rewards: Sequence[str]) -> np.ndarray[Any, Any]:
    """Return each prompt's loss: the mean over the rewards, in units of their s.d. over the prompts in `before`."""
    then, after = (np.stack([of[name] for name in rewards], axis=1) for of in (before, now))
    units = then.std(axis=0, ddof=1)
    return ((then - after) / np.where(units > 0, units, 1.0)).mean(axis=1)


def _below_base(history: History, reward: str) -> float:
    if len(history.held_out) < 2 or 0 not in history.held_out:
        return 0.0
    base, now = history.held_out[0], history.held_out[max(history.held_out)]
    return fall_in_standard_errors(base, now, [reward]) if reward in base and reward in now else 0.0


def _spread(metrics: Mapping[str, float], reward: str) -> float:
    """Return the mean over granularities of the spread within groups."""
    start, end = f"reward/{reward}/granularity_", "/spread"
    spreads = [value for key, value in metrics.items() if key.startswith(start) and key.endswith(end)]
    return sum(spreads) / len(spreads)


_REMEDY = (
    "The policy diverges, or another reward pulls against this one. Look at the pictures; lower the other's weight in "
    "integrate.reward_weights, set integrate.normalise to mixed, raise update.kl_weight or lower update.learning_rate."
)
