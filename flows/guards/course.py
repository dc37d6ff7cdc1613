"""Guards that look at the course of a run: first rounds against last ones, the best round against the present one."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flows.guards.history import WINDOW, History, Scores
from stages.readings.metrics import trained_rewards

_FEWEST = 32  # prompts; of fewer a standard error says little


def fallen(history: History, reward: str) -> float:
    """Return how far a trained reward has fallen, in units of its spread within groups.

        fallen = (mean of the first 10 rounds - mean of the last 10) / spread in the first 10,

    negative where it has risen, 0 for fewer than 20 rounds or a reward without spread.
    """
    means = history.first_and_last(f"reward/{reward}/mean")
    if means is None:
        return 0.0
    first, last = means
    spread = sum(_spread(metrics, reward) for metrics in history.rounds[:WINDOW]) / WINDOW
    return (first - last) / spread if spread > 0 else 0.0


def fall_in_standard_errors(before: Scores, now: Scores, rewards: Sequence[str]) -> float:
    """Return how sure it is that rewards have fallen: the mean paired difference over its standard error.

    A prompt's difference is the mean over the rewards, each in units of its standard deviation over the
    prompts before. Positive where they have fallen; 0 where nothing has changed, or for fewer than 32 prompts.
    """
    if len(before[rewards[0]]) < _FEWEST:
        return 0.0
    lost = _lost(before, now, rewards)
    mean, error = float(lost.mean()), float(lost.std(ddof=1)) / math.sqrt(len(lost))
    return mean / error if error > 0 else math.copysign(math.inf, mean) if mean else 0.0


def share_lost(base: Scores, best: Scores, now: Scores, rewards: Sequence[str]) -> float:
    """Return how much of what rewards had gained is lost again, in the units of `fall_in_standard_errors`.

        share = (best - now) / (best - base)

    Infinite where they have fallen without having gained anything.
    """
    gained, lost = (float(_lost(best, other, rewards).mean()) for other in (base, now))
    return lost / gained if gained > 0 else math.inf if lost > 0 else 0.0


def reward_collapse(history: History) -> str | None:
    """Tell of a reward that is trained on and falls all the same.

    The branches of a group are compared with each other alone, so what harms all of them alike is seen by no
    advantage; the level of the reward tells, on the round's pictures and on the held-out prompts. Why this happens:
    docs/log.md, the reward of tiny spread.
    """
    guard = history.guards.reward_collapse
    for reward in trained_rewards(history.last):
        fall = fallen(history, reward)
        if fall > guard.spreads:
            by = f"{fall:.1f} times its spread within groups since the first {WINDOW} rounds"
            return f"{reward} is trained on and has fallen by {by}. {_APART}"
        below = _below_base(history, reward)
        if below > guard.standard_errors:
            return (
                f"{reward} is trained on and lies {below:.1f} standard errors below the base on the held-out prompts. "
                f"{_APART}"
            )
    return None


def reward_hacking(history: History) -> str | None:
    """Tell of held-out rewards that fall while the trained ones stand above the base.

    All rewards of `evaluate.rewards` that are not trained on are taken together, the last evaluation against that of
    the best round, prompt by prompt. The best of many looks is a lucky one, after which a fall is sure to be found:
    so it must be a large one too, against what had been gained.
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
    gain = f"{lost:.0%} of its gain" if lost <= 1 else "more than its gain"
    return (
        f"What is not trained on has lost {gain} since round {best} ({falls}; {fall:.1f} standard errors), while what "
        f"is trained on stands above the base ({rise}): the policy learns to please the reward, not to paint better. "
        "Lower update.learning_rate, set update.kl_weight, train on several rewards, or keep the best round."
    )


def diversity(history: History) -> str | None:
    """Tell of groups whose pictures come to look alike."""
    means = history.first_and_last("diversity/mean")
    if means is None:
        return None
    first, last = means
    if not last < history.guards.diversity.frac * first:
        return None
    return (
        f"The diversity of a group's pictures has fallen to {last:.3g} from {first:.3g} in the first {WINDOW} rounds, "
        "to {:.0%}: the policy comes to paint one picture for every noise, and groups have less to compare. Lower "
        "update.learning_rate, set update.kl_weight, or raise rollout.eta.".format(last / first)
    )


def _lost(before: Scores, now: Scores, rewards: Sequence[str]) -> np.ndarray[Any, Any]:
    """Return what a prompt has lost: the mean over the rewards, in units of their s.d. over the prompts before."""
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


_APART = (
    "The policy comes apart, or another reward pulls against it. Look at the pictures; weigh that other less in "
    "integrate.reward_weights, set integrate.normalise to mixed, raise update.kl_weight or lower update.learning_rate."
)
