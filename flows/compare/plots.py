"""The plots of a comparison: final figures, curves, inference steps, trained against held out; one axis per reward."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from flows.common.rows import Rows, column, distinct, pick
from flows.compare.plan import BASE
from flows.compare.shown import Shown
from flows.compare.statistics import summary
from flows.compare.style import BASE_COLOUR, error_of, figure_of, fit, key_below, panels, save, text_inches

_WIDE = 4
"""Panels per row."""
_DODGE = 0.012
"""Shift between methods at the same place, as a share of the axis' width."""


def final_plot(shown: Shown, folder: Path) -> str:
    """Draw the final mean of each method and reward with its interval, each seed as a dot, the base as a line."""
    methods = list(shown.plan.methods)
    columns = min(len(shown.rewards), _WIDE)
    rows = len(shown.variants) * -(-len(shown.rewards) // columns)
    figure = figure_of(0.4 + text_inches(methods) + 2.1 * columns, 0.7 + rows * (0.7 + 0.27 * len(methods)))
    for axis, variant, reward, is_left in _panels(panels(figure, rows, columns), shown):
        for place, method in enumerate(methods):
            _final_row(axis, shown, (variant, reward, method), place)
        for value in shown.bases(variant, reward):
            axis.axvline(value, color=BASE_COLOUR, linestyle="--", linewidth=1, label=BASE, zorder=0)
        axis.set_yticks(range(len(methods)), methods if is_left else [""] * len(methods))
        axis.set_ylim(len(methods) - 0.5, -0.5)
        axis.set_title(shown.title(reward, variant))
        axis.grid(visible=False, axis="y")
        axis.tick_params(axis="y", length=0)
        fit(axis, "x", *_extent(shown, reward))
    key_below(figure)
    return save(figure, folder, "final")


def _extent(shown: Shown, reward: str) -> tuple[list[float], Rows]:
    """Return all values of a reward at the headline's number of inference steps, and its means with their intervals."""
    at = {"reward": reward, "num_steps": shown.steps[0]}
    bases = [value for variant in shown.variants for value in shown.bases(variant, reward)]
    return column(pick(shown.runs, **at, split=shown.plan.split), "value") + bases, pick(shown.final, **at)


def _final_row(axis: Axes, shown: Shown, key: tuple[str, str, str], place: int) -> None:
    variant, reward, method = key
    at = {"method": method, "variant": variant, "reward": reward, "num_steps": shown.steps[0]}
    values, mean = column(pick(shown.runs, **at, split=shown.plan.split), "value"), pick(shown.final, **at)
    look = shown.look.of(method)
    if len(values) > 1:
        axis.plot(values, [place + 0.25] * len(values), ".", color=look["color"], alpha=0.5, markersize=3)
    if mean:
        axis.errorbar(column(mean, "mean"), [place], xerr=error_of(mean), capsize=2.5, markersize=4.5, **look)


def curves_plot(shown: Shown, variant: str, folder: Path, name: str) -> str:
    """Draw held-out rewards over evaluations and over CPU-seconds: mean line and 95 % band over seeds."""
    rows = pick(shown.curves, variant=variant)
    rows = pick(rows, num_steps=rows[0]["num_steps"])
    rewards = [reward for reward in shown.rewards if reward in distinct(rows, "reward")]
    figure = figure_of(8.4, 0.6 + 2 * len(rewards))
    over = {"evaluations": "transformer evaluations of training", "cpu_seconds": "CPU-seconds of training"}
    grid = panels(figure, len(rewards), 2, sharey="row", sharex="col")
    for reward, line in zip(rewards, grid, strict=True):
        for axis, spent in zip(line, over, strict=True):
            bands = [
                row
                for method in shown.plan.methods
                if (of_method := pick(rows, reward=reward, method=method))
                for row in _curve(axis, of_method, spent, method, shown)
            ]
            fit(axis, "y", column(pick(rows, reward=reward), "value"), bands)
        line[0].set_ylabel(f"{reward}{shown.mark(reward, variant)}")
    for axis, label in zip(grid[-1], over.values(), strict=True):
        axis.set_xlabel(label)
        axis.xaxis.set_major_formatter("{x:,.12g}")
    figure.suptitle(f"{rows[0]['split']} captions{', ' if variant else ''}{variant}")
    key_below(figure)
    return save(figure, folder, name)


def _curve(axis: Axes, rows: Rows, spent: str, method: str, shown: Shown) -> Rows:
    """Draw a method's curve and return its means with their intervals."""
    by_round = pd.DataFrame(rows).groupby("policy_round", sort=False)
    x = by_round[spent].mean()
    means = [vars(summary(values.tolist())) for _, values in by_round["value"]]
    how = shown.look.of(method)
    axis.plot(x, column(means, "mean"), label=method, markersize=3, linewidth=1.2, **how)
    if min(column(means, "n")) > 1:
        axis.fill_between(x, column(means, "low"), column(means, "high"), color=how["color"], alpha=0.13, linewidth=0)
    return means


def steps_plot(shown: Shown, folder: Path) -> str:
    """Draw the final means over numbers of inference steps."""
    columns = min(len(shown.rewards), _WIDE)
    rows = len(shown.variants) * -(-len(shown.rewards) // columns)
    figure = figure_of(0.8 + 2.3 * columns, 0.7 + 2 * rows)
    dodge = _DODGE * (max(shown.steps) - min(shown.steps))
    for axis, variant, reward, _ in _panels(panels(figure, rows, columns), shown):
        of_panel = sorted(pick(shown.final, variant=variant, reward=reward), key=lambda row: row["num_steps"])
        if not of_panel:  # all runs of the variant failed
            axis.axis("off")
            continue
        for place, method in enumerate(distinct(of_panel, "method")):
            of_method = pick(of_panel, method=method)
            is_base = method not in shown.plan.methods
            how: dict[str, Any] = shown.look.of(method) if not is_base else {"color": BASE_COLOUR, "linestyle": "--"}
            x = [row["num_steps"] + dodge * (place - len(shown.plan.methods) / 2) for row in of_method]
            how |= {"label": method, "capsize": 2, "markersize": 3.5, "linewidth": 1.1}
            axis.errorbar(x, column(of_method, "mean"), error_of(of_method), **how)
        values = column(pick(shown.runs, variant=variant, reward=reward, split=shown.plan.split), "value")
        fit(axis, "y", values + column(of_panel, "mean"), of_panel)
        axis.set_xticks(sorted(shown.steps))
        axis.set_title(shown.title(reward, variant))
        axis.set_xlabel("inference steps")
    key_below(figure)
    return save(figure, folder, "inference-steps")


def pareto_plot(shown: Shown, folder: Path) -> str | None:
    """Draw each trained reward against each held-out one: means with their intervals, each seed as a dot.

    A row shows one variant and trained reward. It returns None if there are fewer than two rewards.
    """
    places = {
        (variant, trained): [other for reward, other in shown.against(variant) if reward == trained]
        for variant in shown.variants
        for trained, _ in shown.against(variant)
    }
    if not places:
        return None
    columns = max(len(others) for others in places.values())
    figure = figure_of(0.6 + 2.6 * columns, 0.7 + 2.4 * len(places))
    grid = panels(figure, len(places), columns)
    for ((variant, trained), others), line in zip(places.items(), grid, strict=True):
        for axis in line[len(others) :]:
            axis.axis("off")
        for axis, other in zip(line, others, strict=False):
            for method in shown.plan.methods:
                _pareto_point(axis, shown, (variant, trained, other), method)
            for x, y in zip(shown.bases(variant, trained), shown.bases(variant, other), strict=False):
                axis.plot(x, y, "+", color=BASE_COLOUR, markersize=8, label=BASE)
            fit(axis, "x", *_extent(shown, trained))
            fit(axis, "y", *_extent(shown, other))
            axis.set(xlabel=f"{trained} (trained on)", ylabel=f"{other}{shown.mark(other, variant)}", title=variant)
    key_below(figure)
    return save(figure, folder, "pareto")


def _pareto_point(axis: Axes, shown: Shown, place: tuple[str, str, str], method: str) -> None:
    variant, *rewards = place
    at = {"method": method, "variant": variant, "num_steps": shown.steps[0]}
    rows = pick(shown.runs, **at, split=shown.plan.split)
    dots = [column(pick(rows, reward=reward), "value") for reward in rewards]
    x, y = (pick(shown.final, **at, reward=reward) for reward in rewards)
    if not x or not y:
        return
    look = shown.look.of(method)
    axis.plot(*dots, ".", color=look["color"], alpha=0.4, markersize=3)
    means = (column(x, "mean"), column(y, "mean"))
    axis.errorbar(*means, error_of(y), error_of(x), label=method, markersize=5, linestyle="", elinewidth=1, **look)


def _panels(grid: list[list[Axes]], shown: Shown) -> Iterator[tuple[Axes, str, str, bool]]:
    """Yield an axis for each variant and reward, and whether it is the first of its row; hide the other axes."""
    columns, rows = len(grid[0]), len(grid) // len(shown.variants)
    for block, variant in enumerate(shown.variants):
        for place in range(rows * columns):
            axis = grid[block * rows + place // columns][place % columns]
            if place < len(shown.rewards):
                yield axis, variant, shown.rewards[place], place % columns == 0
            else:
                axis.axis("off")
