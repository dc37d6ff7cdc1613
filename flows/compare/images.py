"""The same captions from the same noises, side by side: the base and every method, of one seed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill

from matplotlib.axes import Axes

from flows.compare.plan import BASE
from flows.compare.stored import Measured
from flows.compare.style import figure_of, panels, save
from flows.report.pictures import Kept

_SMALL, _LARGE = 12, 6
"""Captions shown of pictures that are enlarged on the page, and of larger ones."""
_INCHES = 1.0


def images_plot(runs: Sequence[Measured], folder: Path, name: str) -> str | None:
    """Draw the pictures that the final evaluations kept, a row a caption, a column a method.

    Args:
        runs: One of each method, in their order, of one seed and variant.
        folder: Of the picture.
        name: Of the picture, without its ending.

    Returns:
        Its name; None where the evaluations kept no common caption.
    """
    columns = {BASE: Kept.of(runs[0].placed.base)}
    columns |= {each.placed.cell.method: Kept.of(each.placed.judged) for each in runs}
    common = [row for row in columns[BASE].ids if all(row in kept.ids for kept in columns.values())]
    if not common:
        return None
    size = columns[BASE].enlargement
    number = min(len(common), _SMALL if size == 1 else _LARGE)
    shown = [common[place * len(common) // number] for place in range(number)]
    edge = _INCHES * size
    figure = figure_of(1.7 + edge * len(columns), 0.5 + edge * number)
    widths = [1.7, *[edge] * len(columns)]
    grid = panels(figure, number, 1 + len(columns), gridspec_kw={"width_ratios": widths})
    texts = dict(zip(columns[BASE].ids, columns[BASE].texts, strict=True))
    for row, line in zip(shown, grid, strict=True):
        _row(line, texts[row], row, columns)
    for axis, title in zip(grid[0][1:], columns, strict=True):
        axis.set_title(fill(title, round(14 * size)), fontsize=8)
    return save(figure, folder, name)


def _row(line: Sequence[Axes], text: str, row: str, columns: Mapping[str, Kept]) -> None:
    for axis in line:
        axis.axis("off")
    line[0].text(1, 0.5, fill(text, 24), ha="right", va="center", fontsize=8)
    for axis, kept in zip(line[1:], columns.values(), strict=True):
        axis.imshow(kept.pictures[kept.ids.index(row)], interpolation="nearest", clip_on=False)
