"""A word of warning while a run goes on: a reward that is trained on, and falls.

The branches of a group are compared with each other alone, so what harms all of them alike is seen by no advantage; the
level of the reward tells. Why this happens: docs/log.md, the reward of tiny spread.
"""

import sys
from collections.abc import Mapping, Sequence

from flows.observers import Ending, Judged
from stages.metrics import trained_rewards
from stages.store import Run

_ROUNDS = 10  # whose mean counts: each round has other prompts
_LIMIT = 5.0  # runs that went well stayed below 4.1, those that came apart passed 5 ten rounds or more before it showed


def fallen(history: Sequence[Mapping[str, float]], reward: str) -> float:
    """Return how far a trained reward has fallen, in units of its spread within groups.

        fallen = (mean of the first 10 rounds - mean of the last 10) / spread in the first 10,

    negative where it has risen, 0 for fewer than 20 rounds or a reward without spread.

    Args:
        history: Metrics of the finished rounds, in order.
    """
    if len(history) < 2 * _ROUNDS:
        return 0.0
    first, last = history[:_ROUNDS], history[-_ROUNDS:]
    spread = sum(_spread(metrics, reward) for metrics in first)
    drop = sum(metrics[f"reward/{reward}/mean"] for metrics in first)
    drop -= sum(metrics[f"reward/{reward}/mean"] for metrics in last)
    return drop / spread if spread > 0 else 0.0


class FallingObserver:
    """Says once of each trained reward that it has fallen by five of its spreads, and what can be done."""

    def __init__(self) -> None:
        self._history: list[Mapping[str, float]] = []
        self._said = set[str]()

    def watch(self, run: Run, num_rounds: int) -> None:
        """Read what the run has been through."""
        self._history = list(run.metrics())

    def stage_started(self, stage: str, number: int) -> None:
        """Nothing to say."""

    def round_finished(self, number: int, metrics: Mapping[str, float]) -> None:
        """Compare the last rounds with the first."""
        self._history.append(metrics)
        for reward in trained_rewards(metrics):
            fall = fallen(self._history, reward)
            if fall > _LIMIT and reward not in self._said:
                self._said.add(reward)
                print(
                    f"warning: {reward} is trained on and has fallen by {fall:.1f} times its spread within groups "
                    f"since the first {_ROUNDS} rounds: the policy comes apart, or another reward pulls against it. "
                    "Look at the pictures; weigh that other less in integrate.reward_weights, set "
                    "integrate.normalise to mixed, raise update.kl_weight or lower update.learning_rate.",
                    file=sys.stderr,
                    flush=True,
                )

    def evaluated(self, judged: Judged) -> None:
        """Nothing to say."""

    def close(self, ending: Ending) -> None:
        """Nothing to close."""


def _spread(metrics: Mapping[str, float], reward: str) -> float:
    """Return the mean over granularities of the spread within groups."""
    start, end = f"reward/{reward}/granularity_", "/spread"
    spreads = [value for key, value in metrics.items() if key.startswith(start) and key.endswith(end)]
    return sum(spreads) / len(spreads)
