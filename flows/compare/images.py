"""Pictures of the same captions from the same noises, side by side: base and every method, for one seed."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes

from flows.common.plots import wrapped
from flows.compare.plan import BASE
from flows.compare.stored import Measured
from flows.compare.style import figure_of, panels, save
from flows.report.pictures import Kept

_SMALL, _LARGE = 12, 6
"""Number of captions for small pictures, which the page enlarges, and for larger ones."""
_INCHES = 1.0


def images_plot(runs: Sequence[Measured], folder: Path, name: str) -> str | None:
    """Draw the pictures that the final evaluations kept, one row per caption, one column per method.

    Args:
        runs: One run of each method, in the order of the plan, with the same seed and variant.
        folder: Folder for the picture.
        name: Name of the picture, without suffix.

    Returns:
        Its name; None if the evaluations kept no common caption.
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
        axis.set_title(wrapped(title, round(14 * size)), fontsize=8)
    return save(figure, folder, name)


def _row(line: Sequence[Axes], text: str, row: str, columns: Mapping[str, Kept]) -> None:
    for axis in line:
        axis.axis("off")
    line[0].text(1, 0.5, wrapped(text, 24), ha="right", va="center", fontsize=8)
    for axis, kept in zip(line[1:], columns.values(), strict=True):
        axis.imshow(kept.pictures[kept.ids.index(row)], interpolation="nearest", clip_on=False)
