"""Pictures of a run: a grid of held-out prompts, base beside aligned, and curves over rounds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from flows.common.plots import save, wrapped
from stages.disk.tables import read_table, tensor, where
from stages.params.record import Params
from stages.readings.best_round import held_out_history
from stages.readings.metrics import reported_rounds
from stages.store.run import Run

_EDGE = 64
"""Pixels to which small pictures are enlarged, by whole factors; larger ones keep their size."""


_CELL = 156
"""Pixels of a cell on a page with small pictures."""
_LARGE_ON_A_PAGE = 8
_SMALL_ON_A_PAGE = 128
_MOST_EDGE = 8192
"""Pixels of a side of a picture; the models make some of 2048."""


@dataclass(frozen=True)
class Kept:
    """Pictures that an evaluation has kept, uint8, shape (n, h, w, 3), with their texts and prompt ids."""

    ids: list[str]
    texts: list[str]
    pictures: np.ndarray

    @classmethod
    def of(cls, folder: Path) -> "Kept":
        """Read the pictures of an evaluation, at its first number of inference steps.

        Raises:
            ValueError: If they are damaged, or no pictures of three colours.
        """
        rows = read_table(folder / "pictures")
        first = where(rows, num_steps=rows["num_steps"][0].as_py())
        kind = first["image"].type
        edges, colours = kind.shape[:2], kind.shape[2:]
        if kind.value_type != pa.uint8() or colours != [3] or not all(1 <= edge <= _MOST_EDGE for edge in edges):
            raise ValueError(
                f"Pictures of 1 to {_MOST_EDGE} pixels a side in three colours of 8 bits are required in "
                f"{folder / 'pictures'}, got {kind.value_type} of shape {kind.shape}. Remove {folder}, and run the "
                "command that made the run again: it evaluates anew."
            )
        return cls(first["prompt_id"].to_pylist(), first["text"].to_pylist(), tensor(first, "image"))

    @property
    def enlargement(self) -> float:
        """Size of a cell on a page, in multiples of a cell for small pictures; 1 to 2.5, up to 390 pixels."""
        return min(max(self.pictures.shape[1] / _CELL, 1.0), 2.5)

    def for_a_page(self) -> "Kept":
        """Return at most 128 of these pictures at even distances, or if they are large, at most eight."""
        number = min(len(self.ids), _SMALL_ON_A_PAGE if self.enlargement == 1 else _LARGE_ON_A_PAGE)
        places = [index * len(self.ids) // number for index in range(number)]
        return Kept([self.ids[i] for i in places], [self.texts[i] for i in places], self.pictures[places])


def grid(pictures: np.ndarray) -> np.ndarray:
    """Return pictures in a square, uint8, two pixels apart; small ones are enlarged without smoothing."""
    factor, columns = max(1, _EDGE // pictures.shape[1]), math.ceil(math.sqrt(len(pictures)))
    tiles = np.pad(
        pictures.repeat(factor, axis=1).repeat(factor, axis=2),
        ((0, 0), (1, 1), (1, 1), (0, 0)),
        constant_values=255,
    )
    tiles = np.pad(tiles, ((0, -len(tiles) % columns), (0, 0), (0, 0), (0, 0)), constant_values=255)
    rows = tiles.reshape(-1, columns, *tiles.shape[1:])
    return rows.transpose(0, 2, 1, 3, 4).reshape(rows.shape[0] * rows.shape[2], -1, 3)


def before_after(base: Path, aligned: Path, params: Params, path: Path) -> None:
    """Draw held-out prompts with the base's and the aligned policy's pictures from the same noise.

    Args:
        base: Folder of the base's evaluation.
        aligned: Folder of the aligned policy's evaluation.
        params: The parameters, with the trained reward and the split.
        path: File of the picture.

    Raises:
        ValueError: If an evaluation is damaged, or the two have pictures of other prompts.
    """
    folders = [base, aligned]
    kept, reward = [Kept.of(folder).for_a_page() for folder in folders], params.score.rewards[0]
    if kept[0].ids != kept[1].ids:
        raise ValueError(
            f"Pictures of the same prompts are required in {base} and {aligned}, got others. Remove the folder of the "
            "one that is damaged, and run the command that made the run again: it evaluates anew."
        )
    size = kept[0].enlargement
    values = [_values(folder, reward) for folder in folders]
    half = -(-len(kept[0].ids) // 2)
    figure = Figure(figsize=(9.6 * size, 1.32 * size * half + 0.3), layout="constrained")
    figure.suptitle(f"{params.report.split} captions, the same noise before and after; below: {reward}", fontsize=10)
    axes = figure.subplots(half, 6, squeeze=False, gridspec_kw={"width_ratios": [1.7, 1, 1] * 2})
    for axis in axes.flat:
        axis.axis("off")
    for place, (name, text) in enumerate(zip(kept[0].ids, kept[0].texts, strict=True)):
        row, side = place % half, 3 * (place // half)
        axes[row, side].text(1, 0.5, wrapped(text, round(22 * size)), ha="right", va="center", fontsize=9)
        for column, title in enumerate(("base", "aligned")):
            axis = axes[row, side + 1 + column]
            axis.imshow(kept[column].pictures[place], interpolation="nearest")
            value = f"{values[column][name]:.2f}" if name in values[column] else ""
            axis.text(0.5, -0.06, value, transform=axis.transAxes, ha="center", va="top", fontsize=8)
            if row == 0:
                axis.set_title(title, fontsize=9)
    save(figure, path, dpi=120)


def _values(folder: Path, reward: str) -> dict[str, float]:
    """Return the value of a reward for each prompt; empty if the evaluation does not have this reward."""
    rows = read_table(folder / "evaluations")
    first = where(rows, num_steps=rows["num_steps"][0].as_py(), reward=reward)
    return dict(zip(first["prompt_id"].to_pylist(), first["value"].to_pylist(), strict=True))


def _compare(
    axis: Axes, rounds: Sequence[float], rewards: Mapping[str, Sequence[float]], unit: str, **how: Any
) -> None:
    """Draw rewards on one axis; if that hid a change, draw each reward's change as a part of its largest change."""
    largest = {name: max((abs(v - values[0]) for v in values), default=0.0) for name, values in rewards.items()}
    moved = [change for change in largest.values() if change]
    everything = [value for values in rewards.values() for value in values]
    scaled = len(moved) > 1 and max(everything) - min(everything) > 10 * min(moved)
    for name, values in rewards.items():
        if scaled:
            by = largest[name] or 1.0
            label = f"{name}, {values[0]:.3g} to {values[-1]:.3g}"
            axis.plot(rounds, [(value - values[0]) / by for value in values], label=label, **how)
        else:
            axis.plot(rounds, values, label=name, **how)
    axis.set_ylabel("change, as a part of its largest" if scaled else unit)


def curves(run: Run, params: Params, path: Path) -> None:
    """Draw trained reward, held-out rewards, spread by step and the policy's movement over rounds."""
    metrics = reported_rounds(run, params, ["kl"])
    rounds = [row["round"] for row in metrics]
    held = held_out_history(run, params)
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    (trained, held_out_axis), (spread, moved) = figure.subplots(2, 2)
    means = {name: [row[f"reward/{name}/mean"] for row in metrics] for name in params.score.rewards}
    _compare(trained, rounds, means, "reward")
    for name in params.score.rewards:
        for step in sorted(params.rollout.steps):
            key = f"reward/{name}/step_{step}/spread"
            having = [row for row in metrics if key in row]  # a sliding window is not at every step in every round
            if having:
                values = [row[key] for row in having]
                spread.plot([row["round"] for row in having], values, label=f"{name}, step {step}", linewidth=1)
    held_out = {name: [row[name] for row in held.values()] for name in params.evaluate.rewards}
    _compare(held_out_axis, list(held), held_out, "mean over prompts", marker="o", markersize=3)
    moved.plot(rounds, [row["update/kl"] for row in metrics], label="KL to the base")
    trained.set(title="Trained reward, pictures of the round")
    held_out_axis.set(title=f"Rewards on held-out captions ({params.evaluate.split})")
    spread.set(title="Reward spread within a group, by branching step", ylabel="std, reward units")
    moved.set(title="Distance from the base policy", ylabel="nats per latent element")
    for axis in figure.axes:
        axis.set_xlabel("round")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    save(figure, path, dpi=110)
