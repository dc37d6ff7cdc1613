"""The history of a run, as its guards see it: metrics of its rounds, and held-out scores of each prompt."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.params.guards import GuardsParams
from stages.params.record import Params
from stages.readings.metrics import evaluation_rows, require_rewards

Scores = Mapping[str, np.ndarray[Any, Any]]
"""The scores of an evaluation by reward, in the order of its prompts, which is the same in each evaluation."""

WINDOW = 10
"""Rounds over which a metric is averaged, since each round has other prompts."""


@dataclass(frozen=True)
class History:
    """A run up to its last finished round."""

    params: Params
    folder: Path
    """The run's folder."""
    rounds: Sequence[Mapping[str, float]]
    """Metrics of the finished rounds, in order."""
    held_out: Mapping[int, Scores]
    """Scores on `evaluate.split` by policy round; 0 is the base."""

    @property
    def guards(self) -> GuardsParams:
        """The settings of the guards."""
        return self.params.guards

    @property
    def last(self) -> Mapping[str, float]:
        """Metrics of the last round; empty before the first."""
        return self.rounds[-1] if self.rounds else {}

    def first_and_last(self, name: str) -> tuple[float, float] | None:
        """Return the mean of a metric over the first ten rounds and over the last ten; None for fewer than twenty."""
        if len(self.rounds) < 2 * WINDOW:
            return None
        first, last = self.rounds[:WINDOW], self.rounds[-WINDOW:]
        return sum(row[name] for row in first) / WINDOW, sum(row[name] for row in last) / WINDOW


def scores(evaluation: Path, rewards: Collection[str]) -> Scores:
    """Return an evaluation's scores at its first number of steps.

    Raises:
        ValueError: If it is damaged, or lacks one of the rewards.
    """
    table = evaluation_rows(evaluation)
    first = table[table["num_steps"] == table["num_steps"].to_numpy()[0]]
    found = {str(name): rows["value"].to_numpy() for name, rows in first.groupby("reward", sort=False)}
    require_rewards(evaluation, found, rewards)
    return found
