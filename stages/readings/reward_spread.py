"""The spread of stored rewards by step and granularity, and how far granularities agree.

A group is the branches of one prompt at one window; the first step names the window, for every method.
Every figure is a function of sums over groups, and its interval comes from leaving out one unit at a time: a run if a
setting has at least three, else a prompt of a round (whose groups share their noise and stay together).

Sources: ranks, C. Spearman, 1904; the jackknife, J. W. Tukey, 1958.
"""

import itertools
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from stages.disk.tables import read_table
from stages.store.run import Run

ALL = "all"
"""In a key column: all values together."""

GROUP = ["setting", "run", "seed", "round", "prompt_id", "step", "reward"]
"""The columns that name a group, with its setting and its run."""

_LEAST_RUNS = 3  # an interval over fewer runs has no meaning
_CONFIDENCE = 0.95

Values = np.ndarray[Any, np.dtype[np.float64]]
Statistic = Callable[[Mapping[str, Values]], Values]
"""A figure of sums, by name; elementwise, so that it takes the sums of many cases at once."""


def stored_rewards(run: Run, setting: str) -> pd.DataFrame:
    """Return the rewards of a run's finished rounds: the columns of GROUP, branch, granularity and value.

    Args:
        run: A run of the store; retention never removes its rewards.
        setting: The setting of the run. Runs of one setting differ only in their seed.

    Raises:
        ValueError: If no round is finished, or rewards are missing.
    """
    if run.num_finished == 0:
        raise ValueError(f"A run with a finished round is required, got none in {run.key}. Train it.")
    rounds = [
        read_table(run.round_folder(number) / "rewards").to_pandas().assign(round=number)
        for number in range(run.num_finished)
    ]
    named = {"setting": setting, "run": run.key, "seed": str(run.fingerprint.values["run.seed"])}
    return pd.concat(rounds, ignore_index=True).rename(columns={"window": "step"}).assign(**named)


def group_spreads(rewards: pd.DataFrame) -> pd.DataFrame:
    """Return each group's spread and mean at each granularity, in the reward's units.

    `spread` is the sample std, by which the advantage divides; it is exactly 0 if all rewards are equal (`zero`).
    Example: rewards (1, 2, 6) have mean 3 and spread sqrt(7).
    """
    values = rewards.groupby([*GROUP, "granularity"], sort=False)["value"]
    spreads = pd.DataFrame(values.agg(spread="std", mean="mean")).reset_index()
    return spreads.assign(zero=(spreads["spread"].to_numpy() == 0).astype(float), groups=1.0)


def group_agreements(rewards: pd.DataFrame) -> pd.DataFrame:
    """Return how each group's rewards at two granularities agree, for each pair of them, `granularity` < `coarser`.

        rho = cov(rank x, rank y) / (std(rank x) std(rank y)),

    with the average rank for ties; if all values of one side are equal, rho is undefined: 0 here, and `defined` 0.
    `xy`, `xx`, `yy`, of the values about their group's means, are the sums behind the variance that two granularities
    share.
    Example: (1, 2, 6) and (2, 1, 3) have rho = 0.5, xy = 4, xx = 14, yy = 2.
    """
    tables = [pd.DataFrame(columns=[*GROUP, "granularity", "coarser", "rho", "defined", "xy", "xx", "yy", "groups"])]
    for setting in rewards["setting"].unique():
        selected = rewards[rewards["setting"].to_numpy() == setting]
        wide = selected.pivot(index=[*GROUP, "branch"], columns="granularity", values="value").sort_index()
        groups = wide.groupby(level=GROUP)
        owner, names = groups.ngroup().to_numpy(), wide.index.droplevel("branch").unique().to_frame(index=False)
        values, ranks = wide.to_numpy(), pd.DataFrame(groups.rank()).to_numpy()
        granularities = [int(granularity) for granularity in wide.columns]
        for x, y in itertools.combinations(range(len(granularities)), 2):
            ranked, sums = (_products(table[:, x], table[:, y], owner) for table in (ranks, values))
            defined = (ranked["xx"] > 0) & (ranked["yy"] > 0)
            of_ranks = np.sqrt(np.where(defined, ranked["xx"] * ranked["yy"], 1.0))
            rho = np.where(defined, ranked["xy"], 0.0) / of_ranks
            pair = {"granularity": granularities[x], "coarser": granularities[y], "rho": rho}
            tables.append(names.assign(**pair, defined=defined.astype(float), **sums, groups=1.0))
    return pd.concat(tables[1:] or tables, ignore_index=True)


def _products(x: Values, y: Values, owner: np.ndarray[Any, Any]) -> dict[str, Values]:
    """Return, for each group, the sums of products of two columns about the group's means."""
    size = np.bincount(owner)
    x, y = (column - (_sums(owner, column) / size)[owner] for column in (x, y))
    return {name: _sums(owner, product) for name, product in (("xy", x * y), ("xx", x * x), ("yy", y * y))}


def _sums(owner: np.ndarray[Any, Any], values: Values) -> Values:
    """Return the sum of the values of each owner; owners are numbered from 0."""
    return np.bincount(owner, weights=values).astype(np.float64)


def spread_table(rewards: pd.DataFrame, phases: int) -> pd.DataFrame:
    """Return the mean spread of groups with its interval, one row per cell; cells: see `summary`.

    `mean` is the reward itself, `zero_spread_frac` the share of groups whose rewards are all equal.
    """
    return summary(
        group_spreads(rewards),
        ["reward", "step", "granularity"],
        phases,
        with_interval={"spread": lambda sums: sums["spread"] / sums["groups"]},
        plain={
            "mean": lambda sums: sums["mean"] / sums["groups"],
            "zero_spread_frac": lambda sums: sums["zero"] / sums["groups"],
        },
    )


def agreement_table(rewards: pd.DataFrame, phases: int) -> pd.DataFrame:
    """Return how granularities agree within groups, with intervals, one row per cell and pair; cells: see `summary`.

    `spearman` is the mean of the groups' rank correlations, over the groups that have one; `undefined_frac` is the
    share of the groups without one. `shared_variance` is the share of the variance within groups at one granularity
    that a line through the rewards at the other explains, one slope for all groups of the cell:

        (sum xy)^2 / (sum xx  sum yy).

    It is the same in both directions, at most 1, and of unrelated rewards about 1 / (groups (G - 1)).
    """
    return summary(
        group_agreements(rewards),
        ["reward", "step", "granularity", "coarser"],
        phases,
        with_interval={
            "spearman": lambda sums: sums["rho"] / sums["defined"],
            "shared_variance": lambda sums: sums["xy"] ** 2 / (sums["xx"] * sums["yy"]),
        },
        plain={"undefined_frac": lambda sums: 1 - sums["defined"] / sums["groups"]},
    )


def summary(
    groups: pd.DataFrame,
    keys: Sequence[str],
    phases: int,
    *,
    with_interval: Mapping[str, Statistic],
    plain: Mapping[str, Statistic],
) -> pd.DataFrame:
    """Return figures of cells of groups, with 95 % intervals `NAME_low` and `NAME_high`, NaN if there is one unit.

    A cell is a run or all runs of a setting, the whole run or one of its phases (`first_round` to `last_round`), a
    step or all steps, and the rest of the keys. `interval_over` names the units of its interval, `units` is their
    number.

    Args:
        groups: One row per group, with the columns of GROUP, the keys and the sums that the statistics read.
        keys: Columns that name a cell within a run, `step` among them.
        phases: Number of equal parts of the rounds of a setting's longest run, at least 1.
        with_interval: Figures by name.
        plain: Figures without an interval.

    Raises:
        ValueError: If phases are fewer than 1.
    """
    if phases < 1:
        raise ValueError(f"Training is cut into at least 1 phase, got {phases}. Raise --phases.")
    summed = {name: groups[name].to_numpy() for name in groups.columns if groups[name].dtype == np.float64}
    units = {"runs": _numbers(groups, ["run"]), "prompts": _numbers(groups, ["run", "round", "prompt_id"])}
    named = ["setting", "run", "seed", "first_round", "last_round", *keys]
    rows = list[dict[str, Any]]()
    for cell, places in _cells(groups, keys, phases):
        several = cell["run"] == ALL and len(np.unique(units["runs"][places])) >= _LEAST_RUNS
        over = "runs" if several else "prompts"
        unit = np.unique(units[over][places], return_inverse=True)[1]
        sums = {name: _sums(unit, values[places]) for name, values in summed.items()}
        figures = dict[str, float]()
        for name, statistic in with_interval.items():
            value, half = _of_all(sums, statistic), jackknife_half_width(sums, statistic)
            figures |= {name: value, f"{name}_low": value - half, f"{name}_high": value + half}
        figures |= {name: _of_all(sums, statistic) for name, statistic in plain.items()}
        rows.append(cell | figures | {"interval_over": over, "units": int(unit.max()) + 1, "groups": len(places)})
    rows.sort(key=lambda row: [(row[name] != ALL, -row[name] if name == "last_round" else row[name]) for name in named])
    figures = [f"{name}{end}" for name in with_interval for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=[*named, *figures, *plain, "interval_over", "units", "groups"])


def _cells(
    groups: pd.DataFrame, keys: Sequence[str], phases: int
) -> Generator[tuple[dict[str, Any], np.ndarray[Any, Any]]]:
    """Yield the keys of each cell, and the places of its groups."""
    rounds = groups["round"].to_numpy()
    last = {setting: rounds[places].max() for setting, places in _places(groups, ["setting"]).items()}
    for by_run, by_step in itertools.product(([], ["run", "seed"]), (False, True)):
        columns = ["setting", *by_run, *(key for key in keys if by_step or key != "step")]
        for values, places in _places(groups, columns).items():
            cell = {"run": ALL, "seed": ALL, "step": ALL} | dict(zip(columns, values, strict=True))
            for first_round, last_round in _ranges(int(last[values[:1]]) + 1, phases):
                selected = places[(rounds[places] >= first_round) & (rounds[places] <= last_round)]
                if len(selected):
                    yield cell | {"first_round": first_round, "last_round": last_round}, selected


def _places(groups: pd.DataFrame, columns: list[str]) -> dict[tuple[Any, ...], np.ndarray[Any, Any]]:
    """Return the places of the rows that share the values of some columns, by these values."""
    numbers = _numbers(groups, columns)
    parts = np.split(np.argsort(numbers, kind="stable"), np.cumsum(np.bincount(numbers))[:-1]) if len(groups) else []
    return {tuple(groups[name].iloc[places[0]] for name in columns): places for places in parts}


def _numbers(groups: pd.DataFrame, columns: list[str]) -> np.ndarray[Any, Any]:
    """Return the group number of each row; rows with equal values in some columns form a group."""
    return groups.groupby(columns, sort=False).ngroup().to_numpy(dtype=np.int64)


def _ranges(rounds: int, phases: int) -> list[tuple[int, int]]:
    """Return first and last round of the whole run and of its phases. Example: 5 in 2: (0, 4), (0, 2), (3, 4)."""
    parts = np.array_split(np.arange(rounds), min(phases, rounds))
    return list(dict.fromkeys([(0, rounds - 1), *((int(part[0]), int(part[-1])) for part in parts)]))


def _of_all(sums: Mapping[str, Values], statistic: Statistic) -> float:
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(statistic({name: values.sum(keepdims=True) for name, values in sums.items()})[0])


def jackknife_half_width(sums: Mapping[str, Values], statistic: Statistic) -> float:
    """Return half the width of the 95 % interval of a function of sums over n independent units.

        t(n - 1) sqrt( (n - 1) / n  sum_i (f_-i - mean f_-)^2 ),    f_-i: the figure without unit i.

    For a mean of one value per unit it is the t interval of that mean. NaN with one unit, or if the figure depends on
    a single one.
    Example: values (1, 2, 6), f their mean: t(2) = 4.303 times sqrt(7 / 3) is 6.572.

    Args:
        sums: The sums of each unit, shape (n,), by name.
        statistic: The figure.
    """
    number = len(next(iter(sums.values())))
    if number < 2:
        return float("nan")
    with np.errstate(invalid="ignore", divide="ignore"):
        left_out = statistic({name: values.sum() - values for name, values in sums.items()})
    variance = (number - 1) / number * ((left_out - left_out.mean()) ** 2).sum()
    return float(stats.t.ppf((1 + _CONFIDENCE) / 2, number - 1) * np.sqrt(variance))
