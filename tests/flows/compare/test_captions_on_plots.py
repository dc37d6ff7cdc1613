"""Every plot of a run and of a comparison is drawn, whatever its captions and names are."""

from types import SimpleNamespace

import handmade
import pytest
from captions import CAPTIONS
from comparisons import write_plan
from matplotlib.figure import Figure
from whole_runs import measured_by_hand, write_pictures

from flows.common.plots import save
from flows.compare.grid import grid_plot
from flows.compare.images import images_plot
from flows.compare.plan import load_plan
from flows.compare.plots import curves_plot, final_plot, pareto_plot, steps_plot
from flows.compare.report import Tables
from flows.compare.shown import Shown
from flows.report.diff import _draw
from flows.report.pictures import before_after
from flows.report.spread import picture

NAMES = [f"{place} {caption[:200]}" for place, caption in enumerate(CAPTIONS[:3])]
"""Names have a letter or a digit."""


@pytest.fixture
def drawn(tmp_path):
    yield tmp_path / "drawn"
    pictures = [path for path in (tmp_path / "drawn").iterdir() if not path.name.startswith(".")]
    assert pictures
    assert all(path.stat().st_size > 1000 for path in pictures)


@pytest.fixture(autouse=True)
def coarse_files(monkeypatch, drawn):
    """Files of few dots: what is drawn is the same, in a part of the time."""
    drawn.mkdir()
    savefig = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **how: savefig(figure, path, **how | {"dpi": 20}))


def test_base_beside_aligned(drawn, monkeypatch):
    for first in range(0, 8, 2):
        monkeypatch.setattr(handmade, "TEXTS", (*CAPTIONS[first : first + 2], *CAPTIONS[:2]))
        run, params = handmade.begun(f"run.seed={first}")
        base, aligned = (handmade.judge(run, params, n, "test", judge_a=[0.25, 0.5]) for n in (0, 3))
        before_after(base, aligned, params, drawn / f"{first}.png")


def test_the_pictures_of_a_comparison(drawn, tmp_path):
    runs = measured_by_hand(tmp_path, seeds=[7])[1]
    captions = {f"p{place}": caption for place, caption in enumerate(CAPTIONS)}
    for folder in (runs[0].placed.base, *(each.placed.judged for each in runs)):
        write_pictures(folder / "pictures", captions)
    assert images_plot(runs, drawn, "images") == "images"


def test_the_figures_of_a_comparison(drawn, tmp_path):
    plan, whole = measured_by_hand(tmp_path, variants={name: {"set": {}} for name in NAMES[:1]})
    tables = Tables.of(plan, whole)
    shown = Shown.of(plan, whole, tables.best, tables.runs, tables.final, tables.curves)
    assert final_plot(shown, drawn)
    assert steps_plot(shown, drawn)
    assert pareto_plot(shown, drawn)
    assert curves_plot(shown, NAMES[0], drawn, "curves")


def test_the_points_of_a_grid(drawn, tmp_path):
    plan = load_plan(write_plan(tmp_path, grid={"rollout.steps": [[0, 1], [1, 2]]}))
    rows = [
        {"method": method, "variant": "", "rollout.steps": point, "n": 1, "mean": mean, "split": "tuning"}
        | dict.fromkeys(("std", "low", "high"), float("nan"))
        for method, mean in (("fine", 0.1), ("coarse", 0.2))
        for point in NAMES[1:]
    ]
    plan = plan.model_copy(update={"grid": {"rollout.steps": NAMES[1:]}})
    assert grid_plot(rows, [rows[0], rows[2]], plan, drawn) == "grid"


def test_the_spread_of_settings(drawn):
    row = {"run": "all", "reward": NAMES[0], "granularity": 1, "first_round": 0, "last_round": 1, "rounds": "1 to 2"}
    rows = [
        row | {"setting": name, "step": step, "spread": 1.0, "spread_low": 0.5, "spread_high": 1.5}
        for name in NAMES[1:]
        for step in ("all", 0, 1)
    ]
    save(picture(rows, []), drawn / "signal.png", dpi=20)


def test_the_curves_of_two_runs(drawn):
    side = SimpleNamespace(run=SimpleNamespace(key=NAMES[0]), curve=lambda _: [0.1, 0.2], held_out={0: {NAMES[1]: 0.5}})
    _draw((side, side), NAMES[1:2], drawn / "curves.png")
