"""Results of a grid of parameters: the best point of each method in the form of a plan, and the plot of all."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from flows.common.rows import Rows, column, pick
from flows.compare.plan import ComparisonPlan
from flows.compare.style import Look, error_of, figure_of, fit, key_below, panels, save
from flows.compare.tables import point_text
from stages.params.yaml import dumped


def grid_plot(tuning: Rows, best: Rows, plan: ComparisonPlan, folder: Path) -> str:
    """Draw the metric over each parameter of the grid, with the others at each method's best point.

    Args:
        tuning: The metric of each method, variant and point.
        best: The best point of each method and variant.
        plan: The plan.
        folder: Folder for the plot.
    """
    variants, look = list(plan.variants) or [""], Look(list(plan.methods))
    figure = figure_of(0.8 + 3.6 * len(plan.grid), 0.7 + 2.6 * len(variants))
    for line, variant in zip(panels(figure, len(variants), len(plan.grid)), variants, strict=True):
        for axis, key in zip(line, plan.grid, strict=True):
            places = _places(axis, plan.grid[key])
            drawn: Rows = []
            for row in pick(best, variant=variant):
                others = {name: row[name] for name in plan.grid if name != key}
                points = pick(tuning, method=row["method"], variant=variant, **others)
                x, how = [places[each[key]] for each in points], look.of(row["method"])
                axis.errorbar(x, column(points, "mean"), error_of(points), label=row["method"], capsize=2, **how)
                drawn += points
            spread = [row["mean"] + side * row["std"] for row in drawn if row["n"] > 1 for side in (-1, 1)]
            fit(axis, "y", spread + column(drawn, "mean"), drawn)
            axis.set(xlabel=key, ylabel=f"{plan.metric}, {tuning[0]['split']} captions", title=variant)
    key_below(figure)
    return save(figure, folder, "grid")


def _places(axis: Axes, values: list[Any]) -> dict[Any, float]:
    """Return the positions of values on an axis: numbers as they are, wide ranges on a log scale, others in order."""
    if not all(isinstance(value, int | float) for value in values):
        axis.set_xticks(range(len(values)), [str(point_text(value)) for value in values])
        return {point_text(value): place for place, value in enumerate(values)}
    if min(values) > 0 and max(values) >= 5 * min(values):
        axis.set_xscale("log")
    axis.set_xticks(values, [f"{value:g}" for value in values])
    axis.minorticks_off()
    return {value: value for value in values}


def best_yaml(best: Rows, plan: ComparisonPlan) -> str:
    """Return the best points as the `methods` of a plan, by variant if there are variants."""
    tree: dict[str, Any] = {}
    known = {key: {point_text(value): value for value in values} for key, values in plan.grid.items()}
    for row in best:
        best_values = {"set": {key: known[key][row[key]] for key in plan.grid}}
        at = tree.setdefault(row["variant"], {}) if row["variant"] else tree
        at.setdefault("methods", {})[row["method"]] = best_values
    return f"# Best by {plan.metric} on the {best[0]['split']} captions.\n" + dumped(tree)
