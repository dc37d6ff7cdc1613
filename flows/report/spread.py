"""The reward spread of runs as tables, a page and a picture: `g2rpo signal`."""

import json
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from flows.common.escape import markdown, visible
from flows.common.plots import save, wrapped
from flows.common.rows import Row, Rows, distinct, grouped, pick, write_csv
from stages.disk.files import write_text
from stages.readings.reward_spread import ALL, agreement_table, spread_table, stored_rewards
from stages.store.run import Run, find_run

_NAMED_BY = 3  # parameters in the name of a setting

_LEGEND = """\
A group is the branches of one prompt at one window, named by its first step. *Spread* is the mean over groups of the
sample std of a group's rewards, in the reward's units. *Rank agreement* is the mean over groups of Spearman's rho
between the rewards of the same branches at two granularities; *shared variance* the share of the variance within
groups at one of them that a linear fit to the other's rewards explains. In brackets: 95 % intervals (t, jackknife)
over runs if a setting has at least three, else over the prompts of its rounds.
"""


def signal_of_runs(names: Sequence[str], out: Path, *, phases: int) -> str:
    """Write signal.csv, agreement.csv, signal.png and signal.md of some runs; return a summary line.

    Args:
        names: Keys of runs, or their first characters, or folders.
        out: Folder of the results.
        phases: Number of equal parts of training, each with its own figures.

    Raises:
        ValueError: If a run does not exist or has no finished round.
    """
    runs = {run.key: run for run in map(find_run, names)}
    settings = setting_names(list(runs.values()))
    rewards = pd.concat([stored_rewards(run, settings[key]) for key, run in runs.items()], ignore_index=True)
    spreads, agreements = spread_table(rewards, phases), agreement_table(rewards, phases)
    for name, table in (("signal", spreads), ("agreement", agreements)):
        write_csv(out / f"{name}.csv", table)
    command = " ".join(["g2rpo signal", *(f"--run {key}" for key in runs), f"--phases {phases} --out {out}"])
    together = [pick(_rows(table), run=ALL) for table in (spreads, agreements)]
    write_text(out / "signal.md", page(list(runs.values()), settings, *together, command=command))
    save(picture(*together), out / "signal.png", dpi=150)
    return f"{out}: signal.md, signal.png, signal.csv and agreement.csv of {len(runs)} runs, {len(rewards)} rewards"


def setting_names(runs: Sequence[Run]) -> dict[str, str]:
    """Return the name of each run's setting, by key: runs that differ only in their seed share it.

    It consists of the parameters in which the settings differ, the method first; at most three, plus the key of one of
    its runs if they are ambiguous.
    Example: `eta=0.3` and `eta=0.7`.
    """
    values = {run.key: {k: v for k, v in run.fingerprint.values.items() if k != "run.seed"} for run in runs}
    alike = {key: json.dumps(value, sort_keys=True) for key, value in values.items()}
    every = sorted({name for value in values.values() for name in value}, key=lambda n: (n != "rollout.method", n))
    differing = [name for name in every if len({json.dumps(v.get(name)) for v in values.values()}) > 1]
    naming = differing[:_NAMED_BY] or ["complete.granularities"]
    named = {
        key: ", ".join(f"{name.split('.', 1)[1]}={str(value[name])[:24]}" for name in naming if name in value)
        for key, value in values.items()
    }
    first = {alike[key]: key for key in reversed(alike)}
    ambiguous = len(set(named.values())) < len(first)
    return {key: f"{named[key]} ({first[alike[key]][:8]})" if ambiguous else named[key] for key in named}


def page(runs: Sequence[Run], settings: dict[str, str], spreads: Rows, agreements: Rows, *, command: str) -> str:
    """Return the figures of each setting as Markdown: by step, and over training."""
    lines = ["# Signal", "", f"    {visible(command)}", "", _LEGEND]
    lines += ["| run | setting | seed | rounds | commit |", _rule(5)]
    for run in runs:
        seed, commit = run.fingerprint.values["run.seed"], run.links.get("git_commit", "")[:7]
        lines.append(f"| `{run.key}` | {markdown(settings[run.key])} | {seed} | {run.num_finished} | {commit} |")
    for setting, reward in _settings(spreads):
        s, a, finest = _of(spreads, agreements, setting, reward)
        units = next(f"{row['units']} {row['interval_over']}" for row in _whole(s) if row["step"] == ALL)
        lines += ["", f"## {markdown(setting)}: {markdown(reward)}", ""]
        lines += [f"Spread, by step and granularity (intervals over {units}):", ""]
        lines += _crossed(_whole(s), "step", "granularity", ["spread"])
        if a:
            lines += ["", f"Rank agreement with λ = {finest}; variance shared with it:", ""]
            lines += _crossed(_whole(a), "step", "coarser", ["spearman", "shared_variance"])
        lines += ["", "Spread over training, all steps:", ""]
        lines += _crossed(pick(s, step=ALL), "rounds", "granularity", ["spread"])
        if a:
            lines += ["", f"Rank agreement with λ = {finest} over training, all steps:", ""]
            lines += _crossed(pick(a, step=ALL), "rounds", "coarser", ["spearman"])
    return "\n".join([*lines, ""])


def _rows(table: pd.DataFrame) -> Rows:
    """Return the rows of a table, with rounds counted from 1."""
    rows = [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
    return [row | {"rounds": f"{row['first_round'] + 1} to {row['last_round'] + 1}"} for row in rows]


def _of(spreads: Rows, agreements: Rows, setting: str, reward: str) -> tuple[Rows, Rows, int]:
    """Return a reward's rows in a setting: spreads, agreements with the finest granularity, and this granularity."""
    s, a = (pick(rows, setting=setting, reward=reward) for rows in (spreads, agreements))
    finest = min(row["granularity"] for row in s)
    return s, pick(a, granularity=finest), finest


def _settings(rows: Rows) -> list[tuple[str, str]]:
    """Return all pairs of a setting and a reward in it."""
    return [(key["setting"], key["reward"]) for key, _ in grouped(rows, ["setting", "reward"])]


def _whole(rows: Rows) -> Rows:
    """Return the rows of whole runs."""
    return pick(rows, first_round=0, last_round=max((row["last_round"] for row in rows), default=0))


def _phases(rows: Rows) -> Rows:
    """Return the rows of phases; if the run has one phase, those of the whole run."""
    whole = _whole(rows)
    return [row for row in rows if row not in whole] or whole


def _by_step(rows: Rows) -> Rows:
    return [row for row in rows if row["step"] != ALL]


def _crossed(rows: Rows, down: str, across: str, figures: Sequence[str]) -> list[str]:
    """Return a Markdown table of figures with their intervals."""
    columns = sorted(distinct(rows, across))
    cells = {(row[down], row[across]): "; ".join(_with_interval(row, name) for name in figures) for row in rows}
    lines = [f"| {down} | {' | '.join(f'λ = {column}' for column in columns)} |", _rule(len(columns) + 1)]
    for value in distinct(rows, down):
        lines.append(f"| {value} | {' | '.join(cells.get((value, column), '') for column in columns)} |")
    return lines


def _rule(columns: int) -> str:
    return "|---" * columns + "|"


def _with_interval(row: Row, name: str) -> str:
    value, low, high = (f"{row[f'{name}{end}']:#.3g}".rstrip(".") for end in ("", "_low", "_high"))
    return value if low == "nan" else f"{value} [{low}, {high}]"


def picture(spreads: Rows, agreements: Rows) -> Figure:
    """Return small multiples, one row per setting and reward: spread and agreement by step and over training."""
    cells = _settings(spreads)
    figure = Figure(figsize=(15 if agreements else 6.4, 2.4 * len(cells) + 0.6), layout="constrained")
    axes = figure.subplots(len(cells), 5 if agreements else 2, squeeze=False)
    steps, granularities = (_colours(spreads, name) for name in ("step", "granularity"))
    for row, (setting, reward) in zip(axes, cells, strict=True):
        s, a, finest = _of(spreads, agreements, setting, reward)
        of_finest = _by_step(pick(_phases(s), granularity=finest))
        _lines(row[0], _by_step(_whole(s)), "step", by="granularity", y="spread", colours=granularities)
        _lines(row[1], of_finest, "round", by="step", y="spread", colours=steps)
        row[0].set(title="spread within a group", ylabel=f"{wrapped(setting, 28)}\n{reward}: std")
        row[1].set(title=f"the same over training, λ = {finest}")
        for axis in row[2:]:
            axis.set_visible(bool(a))
        if a:
            _lines(row[2], _by_step(_whole(a)), "step", by="coarser", y="spearman", colours=granularities)
            _lines(row[3], pick(_phases(a), step=ALL), "round", by="coarser", y="spearman", colours=granularities)
            _lines(row[4], _by_step(_whole(a)), "step", by="coarser", y="shared_variance", colours=granularities)
            row[2].set(title=f"rank agreement with λ = {finest}", ylabel="Spearman's ρ")
            row[3].set(title="the same over training, all steps", ylabel="Spearman's ρ")
            row[4].set(title=f"variance shared with λ = {finest}", ylabel="share")
    for reward in distinct(spreads, "reward"):
        _one_scale([axis for row, cell in zip(axes, cells, strict=True) if cell[1] == reward for axis in row[:2]])
    if agreements:
        _one_scale([axis for row in axes for axis in row[2:] if axis.get_visible()])
    for axis in figure.axes:
        axis.title.set_fontsize(10)
        axis.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        axis.grid(alpha=0.3)
    return figure


def _colours(rows: Rows, name: str) -> dict[int, tuple[float, ...]]:
    """Return a colour for each value of a column, dark to light."""
    values = sorted(value for value in distinct(rows, name) if value != ALL)
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.88, len(values)))
    return {value: tuple(colour) for value, colour in zip(values, colours, strict=True)}


def _one_scale(axes: list[Axes]) -> None:
    """Give axes one range, which begins at 0 or below."""
    ends = [axis.get_ylim() for axis in axes]
    for axis in axes:
        axis.set_ylim(min(0.0, *(low for low, _ in ends)), max(high for _, high in ends))


def _lines(axis: Axes, rows: Rows, x: str, *, by: str, y: str, colours: dict[int, tuple[float, ...]]) -> None:
    """Draw a line with intervals for each value of a column."""
    values = sorted(distinct(rows, by))
    width = 1.0 if x == "step" else max((row["last_round"] + 1 for row in rows), default=0) / 20
    for rank, value in enumerate(values):
        own = pick(rows, **{by: value})
        middle = [row["step"] if x == "step" else (row["first_round"] + row["last_round"]) / 2 + 1 for row in own]
        figure, low, high = (np.array([row[f"{y}{end}"] for row in own]) for end in ("", "_low", "_high"))
        axis.errorbar(
            np.array(middle) + 0.06 * width * (rank - (len(values) - 1) / 2),
            figure,
            yerr=np.nan_to_num(np.stack([figure - low, high - figure])),
            label=f"step {value}" if by == "step" else f"λ = {value}",
            color=colours[value],
            marker="o",
            markersize=3,
            linewidth=1.2,
            capsize=2,
            elinewidth=0.8,
        )
    axis.set_xlabel("branching step k" if x == "step" else "round")
    axis.legend(fontsize=7, ncols=2, loc="lower left")
