"""Two runs side by side: parameters that differ, curves, results."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from flows.common.escape import page
from flows.common.plots import save
from stages.disk.files import write_text
from stages.readings.best_round import best_round, held_out_history
from stages.readings.metrics import evaluation_metrics, trained_rewards
from stages.store.run import Run, find_run

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 40


@dataclass(frozen=True)
class Side:
    """One of the two runs."""

    run: Run

    @property
    def values(self) -> dict[str, Any]:
        """All parameters, as `section.key`, and the origins of weights, rewards and prompts."""
        tree = self.run.params().model_dump(mode="json")
        plain = {f"{section}.{key}": value for section, keys in tree.items() for key, value in keys.items()}
        del plain["prompts.path"]  # each run has its own copy; the origins identify the texts
        return plain | {k: v for k, v in self.run.fingerprint.values.items() if k.startswith("origins.")}

    def curve(self, reward: str) -> list[float]:
        """The mean of a trained reward by round; empty if this run is not trained on it."""
        return [row[f"reward/{reward}/mean"] for row in self.run.metrics() if f"reward/{reward}/mean" in row]

    @property
    def held_out(self) -> dict[int, dict[str, float]]:
        """The evaluations during the run."""
        return held_out_history(self.run, self.run.params())

    @property
    def figures(self) -> dict[str, float]:
        """Results: rounds, evaluations, and each reward of base, last and best policy on `report.split`."""
        params, metrics = self.run.params(), self.run.metrics()
        last, best = len(metrics), best_round(self.run, params)
        split = params.report.split
        figures = {"rounds": float(last), "best round": float(best)}
        figures["evaluations"] = sum(row["evaluations"] for row in metrics)
        for name, number in {"base": 0, "last": last, "best": best}.items():
            folder = self.run.evaluation_folder(number, split)
            if (folder / "evaluate.json").is_file():
                figures |= {f"{split} {reward}, {name}": value for reward, value in evaluation_metrics(folder).items()}
        return figures


def compared(names: Sequence[str], out: Path) -> str:
    """Write `diff.html` and `curves.png` of two runs, and return their comparison as text.

    Raises:
        ValueError: If a run does not exist.
    """
    one, other = (Side(find_run(name)) for name in names)
    differ, figures = _differing(one, other), _figures(one, other)
    rewards = sorted({*_trained(one), *_trained(other)})
    out.mkdir(parents=True, exist_ok=True)
    _draw((one, other), rewards, out / "curves.png")
    keys = [one.run.key, other.run.key]
    write_text(out / "diff.html", page("diff.html", keys=keys, differ=differ, figures=figures))
    lines = [f"{'':<34}{keys[0]:>20}{keys[1]:>20}"]
    lines += [f"{name:<34}{_short(a):>20}{_short(b):>20}" for name, a, b in differ] or ["no parameter differs"]
    lines += ["", *(line for reward in rewards for line in _sparks((one, other), reward)), ""]
    lines += [f"{name:<34}{_number(a):>20}{_number(b):>20}" for name, a, b in figures]
    return "\n".join([*lines, "", str(out / "diff.html")])


def _trained(side: Side) -> dict[str, float]:
    metrics = side.run.metrics()
    return trained_rewards(metrics[-1]) if metrics else {}


def _differing(one: Side, other: Side) -> list[tuple[str, Any, Any]]:
    left, right = one.values, other.values
    names = [name for name in {**left, **right} if left.get(name) != right.get(name)]
    return [(name, left.get(name), right.get(name)) for name in names]


def _figures(one: Side, other: Side) -> list[tuple[str, float | None, float | None]]:
    left, right = one.figures, other.figures
    return [(name, left.get(name), right.get(name)) for name in {**left, **right}]


def _sparks(sides: Sequence[Side], reward: str) -> list[str]:
    """Return one line per run: the reward of its rounds as bars, from the minimum to the maximum of both runs."""
    curves = [side.curve(reward) for side in sides]
    values = [value for curve in curves for value in curve]
    finite = [value for value in values if isfinite(value)] or [0.0]
    low, span = min(finite), max(max(finite) - min(finite), 1e-12)
    return [
        f"{reward}, {side.run.key[:8]:<12}"
        + "".join(_bar((value - low) / span) for value in _thinned(curve))
        + (f"  {curve[0]:.3f} to {curve[-1]:.3f}" if curve else "  not trained on it")
        for side, curve in zip(sides, curves, strict=True)
    ]


def _bar(part: float) -> str:
    """Return the bar of a value by its place between the minimum and the maximum; `?` if it is no finite number."""
    return _BARS[int(part * (len(_BARS) - 1))] if isfinite(part) else "?"


def _thinned(curve: Sequence[float]) -> list[float]:
    """Return the curve as at most 40 means of consecutive rounds."""
    places = min(_WIDTH, len(curve))
    bounds = [index * len(curve) // places for index in range(places + 1)] if places else [0]
    parts = [curve[start:end] for start, end in pairwise(bounds)]
    return [sum(part) / len(part) for part in parts]


def _draw(sides: Sequence[Side], rewards: Sequence[str], path: Path) -> None:
    """Draw the trained rewards by round, and the held-out ones by the rounds of their evaluations."""
    held_out = [side.held_out for side in sides]
    names = sorted({name for history in held_out for means in history.values() for name in means if "/" not in name})
    panels = [*((name, True) for name in rewards), *((name, False) for name in names)]
    num_rows = max(1, -(-len(panels) // 3))  # runs without a finished round have nothing to draw
    figure = Figure(figsize=(11, 2.6 * num_rows), layout="constrained")
    axes = figure.subplots(num_rows, 3, squeeze=False).flatten()
    for axis, (name, trained) in zip(axes, panels, strict=False):
        for side, history in zip(sides, held_out, strict=True):
            curve = side.curve(name) if trained else [means[name] for means in history.values() if name in means]
            rounds = range(1, len(curve) + 1) if trained else [n for n, means in history.items() if name in means]
            axis.plot(list(rounds), curve, label=side.run.key[:8], linewidth=1.2)
        axis.set_title(f"{name}, pictures of the round" if trained else f"{name}, held out", fontsize=9)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    for axis in axes[len(panels) :]:
        axis.axis("off")
    save(figure, path, dpi=110)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 18 else f"{text[:17]}…"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value == int(value) and abs(value) >= 1 else f"{value:.4f}"
