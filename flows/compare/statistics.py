"""Means over seeds with their intervals, paired differences with their tests, and Holm's correction."""

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

LEVEL = 0.95
"""Confidence level of the intervals."""
_ROUNDING = 1e-12
"""Differences with a std below this share of the values count as equal: fractions such as k / 292 are rounded."""


@dataclass(frozen=True)
class Summary:
    """Values of a figure over seeds. Example: of (1, 2, 3, 4) n 4, mean 2.5, std 1.29, low .45, high 4.55."""

    n: int
    mean: float
    std: float
    """With n - 1; nan for one value."""
    low: float
    """Lower end of the t-interval of the mean; nan for one value."""
    high: float

    @property
    def half(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Paired:
    """Differences by seed between a method and another. Example: of (1, 2, 3) difference 2, t 3.46, p .074."""

    difference: Summary
    p: float
    """Two-sided, of Student's paired t-test that the mean difference is 0; nan for one pair or equal differences."""


def summary(values: Sequence[float]) -> Summary:
    """Return mean and t-interval, mean +- t_{n-1, .975} std / sqrt(n), of at least one value.

    The interval assumes normal values. It has zero width for equal values; a single value has none.
    """
    n, mean = len(values), float(np.mean(values))
    if n == 1:
        return Summary(n, mean, nan, nan, nan)
    low, high = DescrStatsW(values).tconfint_mean(1 - LEVEL)
    return Summary(n, mean, float(np.std(values, ddof=1)), float(low), float(high))


def paired(values: Sequence[float], reference: Sequence[float]) -> Paired:
    """Return the differences of values to a reference, seed by seed, and the p of t = mean / (std / sqrt(n)).

    Equal differences (up to rounding) give no test: a few captions produce them by chance, and t would be infinite.
    """
    difference = summary(np.subtract(values, reference).tolist())
    if difference.n == 1 or difference.std <= _ROUNDING * np.abs([values, reference]).max():
        return Paired(difference, nan)
    return Paired(difference, float(stats.ttest_rel(values, reference).pvalue))


def holm(ps: Sequence[float]) -> list[float]:
    """Return Holm-corrected p-values of one family; a nan is no test, does not count and stays nan.

    The i-th smallest of m becomes

        max over j <= i of min(1, (m - j + 1) p_j),

    so that the chance of one false finding in the family stays below the level.
    Source: Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979).
    """
    corrected = np.array(ps, float)
    tested = ~np.isnan(corrected)
    gc.freeze()  # statsmodels collects garbage at each call: a quarter of a second for the objects of torch
    try:
        corrected[tested] = multipletests(corrected[tested], method="holm")[1]
    finally:
        gc.unfreeze()
    return corrected.tolist()
