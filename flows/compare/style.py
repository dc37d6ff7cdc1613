"""The style of a comparison's plots: the same colour and mark for a method everywhere, and files for print."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flows.common import plots
from flows.common.rows import Rows

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5C00", "#444444")
"""The palette of Okabe and Ito, safe for colour-blind readers, without yellow."""
_MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
BASE_COLOUR = "#777777"
_FORMATS = ("png", "svg")
_REACH = 0.5
"""How far intervals may widen an axis at either end, as a share of the points' range."""
_LETTER_INCHES, _KEY_INCHES = 0.07, 0.55
"""Width of a letter, and of the marker and space beside a label of the legend."""
_STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8.5,
    "figure.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
}


@dataclass(frozen=True)
class Look:
    """Colours and marks of methods, in their order in the plan."""

    methods: Sequence[str]

    def of(self, method: str) -> dict[str, Any]:
        """Return colour and mark of a method, as matplotlib's arguments."""
        place = self.methods.index(method)
        return {
            "color": _COLOURS[place % len(_COLOURS)],
            "marker": _MARKS[(place + place // len(_COLOURS)) % len(_MARKS)],
        }


def print_style() -> AbstractContextManager[None]:
    """Return a context that draws and writes plots for print."""
    return mpl.rc_context(_STYLE)


def figure_of(width: float, height: float) -> Figure:
    """Return an empty figure, in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def panels(figure: Figure, rows: int, columns: int, **how: Any) -> list[list[Axes]]:
    """Return axes, one list per row."""
    return figure.subplots(rows, columns, squeeze=False, **how).tolist()


def save(figure: Figure, folder: Path, name: str) -> str:
    """Write a figure as PNG and SVG, the same bytes for the same figure, and return its name."""
    for form in _FORMATS:
        dated = {"Date": None} if form == "svg" else None
        with mpl.rc_context({"svg.hashsalt": name}):
            plots.save(figure, folder / f"{name}.{form}", dpi=160, form=form, metadata=dated)
    return name


def error_of(rows: Rows) -> list[list[float]]:
    """Return how far intervals reach below and above their means, for `errorbar`; 0 without an interval."""
    reach = [(row["mean"] - row["low"], row["high"] - row["mean"]) for row in rows]
    return [[0.0 if isnan(side) else side for side in sides] for sides in zip(*reach, strict=True)]


def fit(axis: Axes, along: str, points: Sequence[float], rows: Rows) -> None:
    """Set the limits of an axis to show all points, and intervals partly: those of few seeds are very wide.

    Args:
        axis: The axis.
        along: "x" or "y".
        points: Values that must be visible, at least one.
        rows: Rows with low and high; an interval beyond the axis is cut at its edge.
    """
    least, most = min(points), max(points)
    reach = _REACH * ((most - least) or abs(most) or 1.0)
    ends = [end for row in rows for end in (row["low"], row["high"]) if not isnan(end)]
    low, high = max(min([least, *ends]), least - reach), min(max([most, *ends]), most + reach)
    margin = 0.05 * ((high - low) or abs(high) or 1.0)
    axis.set(**{f"{along}lim": (low - margin, high + margin)})


def key_below(figure: Figure) -> None:
    """Give a figure one legend for all its axes, below them, in as many rows as needed."""
    pairs = [axis.get_legend_handles_labels() for axis in figure.axes]
    unique = {label: handle for handles, labels in pairs for handle, label in zip(handles, labels, strict=True)}
    columns = figure.get_figwidth() / (_KEY_INCHES + text_inches(unique))
    figure.legend(unique.values(), unique.keys(), loc="outside lower center", ncols=max(1, int(columns)), frameon=False)


def text_inches(texts: Iterable[str]) -> float:
    """Return the approximate width of the longest text."""
    return _LETTER_INCHES * max(len(text) for text in texts)
