"""The signal of runs whose rewards are written by hand: names of settings, tables, page and picture."""

import math

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from handmade import begun, finish, reward
from methods import MIX
from PIL import Image

from flows.report.spread import _crossed, _with_interval, picture, setting_names, signal_of_runs

UNTIED, TURNED = (1, 2, 6), (2, 1, 3)
"""Spreads sqrt(7) = 2.65 and 1; they agree with rho = 0.5 and share 4^2 / (14 * 2) = 0.571 of their variance."""

pytestmark = pytest.mark.usefixtures("own_store")


def made(*overrides, times=1):
    """A run of two rounds, one prompt, steps 0 and 1, granularities 1 and 2; the second round's rewards are doubled."""
    run, _ = begun(*overrides)
    for number in range(2):
        by = times * (number + 1)
        fine, coarse = ([by * value for value in values] for values in (UNTIED, TURNED))
        groups = {("p", 0, 1): fine, ("p", 0, 2): coarse, ("p", 1, 1): coarse, ("p", 1, 2): fine}
        reward(run, number, groups)
        finish(run)
    return run


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """The signal of a run in two phases, and where it lies."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("G2RPO_HOME", str(tmp_path_factory.mktemp("store")))
        run, out = made(), tmp_path_factory.mktemp("signal")
        run.begin_session({"git_commit": "0123456789"})
        yield run, signal_of_runs([run.key, run.key[:8]], out, phases=2), out


def test_the_tables_have_the_figures_of_the_rewards(asked):
    run, told, out = asked
    assert told == f"{out}: signal.md, signal.png, signal.csv and agreement.csv of 1 runs, 24 rewards"
    spreads, agreements = (pd.read_csv(out / f"{name}.csv", dtype={"step": str}) for name in ("signal", "agreement"))
    assert set(spreads["run"]) == {"all", run.key}
    of_all = spreads.query("run == 'all' and granularity == 1").set_index(["step", "first_round", "last_round"])
    assert of_all["spread"].to_dict() == pytest.approx(
        {
            **{("0", 0, 1): 1.5 * math.sqrt(7), ("0", 0, 0): math.sqrt(7), ("0", 1, 1): 2 * math.sqrt(7)},
            **{("1", 0, 1): 1.5, ("1", 0, 0): 1.0, ("1", 1, 1): 2.0},
            **{
                ("all", *rounds): by * (1 + math.sqrt(7)) / 2
                for rounds, by in {(0, 1): 1.5, (0, 0): 1, (1, 1): 2}.items()
            },
        }
    )
    assert agreements["spearman"].tolist() == pytest.approx([0.5] * len(agreements))
    of_step = agreements.query("run == 'all' and step == '0' and first_round == 0 and last_round == 1")
    assert of_step["shared_variance"].tolist() == pytest.approx([16 / 28])


def test_the_page_has_the_command_the_runs_and_their_figures_by_step_and_over_training(asked):
    run, _, out = asked
    lines = (out / "signal.md").read_text().splitlines()
    assert lines[2] == f"    g2rpo signal --run {run.key} --phases 2 --out {out}"
    at = lines.index("| run | setting | seed | rounds | commit |")
    assert lines[at + 1 : at + 3] == [
        "|---|---|---|---|---|",
        rf"| `{run.key}` | granularities=\[1, 2\] | 0 | 2 | 0123456 |",
    ]
    begins = lines.index(r"## granularities=\[1, 2\]: judge_a")
    section = [line for line in lines[begins + 1 :] if line]
    assert section[0] == "Spread, by step and granularity (intervals over 2 prompts):"
    assert section[1:3] == ["| step | λ = 1 | λ = 2 |", "|---|---|---|"]
    assert [line.split(" | ")[0] for line in section[3:6]] == ["| all", "| 0", "| 1"]
    assert section[4].startswith("| 0 | 3.97 [")  # 1.5 sqrt(7)
    assert section[6] == "Rank agreement with λ = 1; variance shared with it:"
    assert section[7] == "| step | λ = 2 |"
    assert section[10].startswith("| 0 | 0.500 [0.500, 0.500]; 0.571 [")
    over = section.index("Spread over training, all steps:")
    assert [line.split(" | ")[:2] for line in section[over + 4 : over + 6]] == [
        ["| 1 to 1", "1.82"],
        ["| 2 to 2", "3.65"],
    ]
    again = section.index("Rank agreement with λ = 1 over training, all steps:")
    assert section[again + 1] == "| rounds | λ = 2 |"
    assert section[again + 4 :] == ["| 1 to 1 | 0.500 |", "| 2 to 2 | 0.500 |"]


def test_the_picture_is_written_beside_them(asked):
    *_, out = asked
    assert {path.name for path in out.iterdir()} == {"signal.csv", "agreement.csv", "signal.png", "signal.md"}
    with Image.open(out / "signal.png") as image:
        assert image.size == (2250, 450)  # 15 by 2.4 + 0.6 inches of 150 pixels


def spread_rows(settings=("s",), phases=((0, 1), (0, 0), (1, 1)), granularities=(1, 2)):
    """Rows of a spread: 2 at step 0, 1 at step 1, 1.5 of all; half a setting's number more."""
    return [
        {"setting": setting, "run": "all", "seed": "all", "reward": "r", "step": step, "granularity": granularity}
        | {"first_round": first, "last_round": last, "rounds": f"{first + 1} to {last + 1}"}
        | {
            "spread": value + number / 2,
            "spread_low": value + number / 2 - 0.25,
            "spread_high": value + number / 2 + 0.5,
        }
        for number, setting in enumerate(settings)
        for first, last in phases
        for step, value in {"all": 1.5, 0: 2.0, 1: 1.0}.items()
        for granularity in granularities
    ]


def agreement_rows(settings=("s",)):
    """Rows of how granularity 2 agrees with 1."""
    figures = {"spearman": -0.25, "spearman_low": -0.5, "spearman_high": 0.0}
    figures |= {"shared_variance": 0.5, "shared_variance_low": 0.25, "shared_variance_high": 0.75}
    rows = spread_rows(settings, granularities=(1,))
    return [{k: v for k, v in row.items() if "spread" not in k} | {"coarser": 2} | figures for row in rows]


def drawn(axis):
    """The lines of a panel: what names it, places and values."""
    lines, names = axis.get_legend_handles_labels()
    return {
        name: list(zip(line[0].get_xdata().round(2).tolist(), line[0].get_ydata().tolist(), strict=True))
        for line, name in zip(lines, names, strict=True)
    }


def test_a_picture_draws_spread_and_agreement_by_step_and_over_training():
    by_step, over, agreeing, agreeing_over, shared = picture(spread_rows(), agreement_rows()).axes
    assert drawn(by_step) == {"λ = 1": [(-0.03, 2.0), (0.97, 1.0)], "λ = 2": [(0.03, 2.0), (1.03, 1.0)]}
    assert by_step.get_xlabel() == "branching step k"
    assert by_step.get_ylabel() == "s\nr: std"
    assert drawn(over) == {"step 0": [(1.0, 2.0), (2.0, 2.0)], "step 1": [(1.0, 1.0), (2.0, 1.0)]}
    assert (over.get_xlabel(), over.get_title()) == ("round", "the same over training, λ = 1")
    assert drawn(agreeing) == {"λ = 2": [(0.0, -0.25), (1.0, -0.25)]}
    assert drawn(agreeing_over) == {"λ = 2": [(1.0, -0.25), (2.0, -0.25)]}
    assert drawn(shared) == {"λ = 2": [(0.0, 0.5), (1.0, 0.5)]}


def test_a_line_has_intervals_and_the_colour_of_what_it_stands_for():
    by_step, over, *_ = picture(spread_rows(), agreement_rows()).axes
    container = by_step.get_legend_handles_labels()[0][0]
    low_and_high = [segment[:, 1].tolist() for segment in container[2][0].get_segments()]
    assert low_and_high == [[1.75, 2.5], [0.75, 1.5]]
    colours = [line[0].get_color() for axis in (by_step, over) for line in axis.get_legend_handles_labels()[0]]
    dark, light = (tuple(mpl.colormaps["viridis"](place)) for place in (0.0, 0.88))
    assert colours == [dark, light, dark, light]


def test_panels_of_a_reward_share_a_scale_that_begins_at_zero_or_below():
    axes = np.reshape(picture(spread_rows(("s", "t")), agreement_rows(("s", "t"))).axes, (2, 5))
    spreads = {axis.get_ylim() for row in axes for axis in row[:2]}
    (low, high) = spreads.pop()
    assert spreads == set()
    assert low == 0.0
    assert high > 3.0  # 2 + 0.5 and the upper half of its interval
    ((low, high),) = {axis.get_ylim() for row in axes for axis in row[2:]}
    assert low < -0.5
    assert high > 0.75


def test_one_granularity_has_two_panels_and_one_phase_is_the_whole_run():
    figure = picture(spread_rows(phases=((0, 4),), granularities=(1,)), [])
    by_step, over = figure.axes
    assert drawn(by_step) == {"λ = 1": [(0.0, 2.0), (1.0, 1.0)]}
    assert drawn(over) == {"step 0": [(2.99, 2.0)], "step 1": [(3.01, 1.0)]}  # (0 + 4) / 2 + 1, drawn apart


def test_a_setting_without_agreement_leaves_its_panels_of_it_out():
    figure = picture(spread_rows(("s", "t")), agreement_rows(("s",)))
    assert [axis.get_visible() for axis in figure.axes] == [True] * 7 + [False] * 3


def test_settings_are_named_by_what_they_differ_in_and_seeds_share_one():
    one, other, mixed = begun()[0], begun("run.seed=1")[0], begun(*MIX)[0]
    found = setting_names([one, other, mixed])
    assert found[one.key] == found[other.key] == "method=g2rpo, granularities=[1, 2]"
    assert found[mixed.key].startswith("method=mix_grpo, granularities=[1]")
    assert set(setting_names([one, other]).values()) == {"granularities=[1, 2]"}


def test_settings_that_three_parameters_do_not_tell_apart_are_named_by_a_run_too():
    far = ("complete.granularities=[1]", "prompts.num_prompts=2", "rollout.eta=0.3")
    one, other, third = (begun(*overrides)[0] for overrides in ((), ("update.learning_rate=2e-4",), far))
    found = setting_names([one, other, third])
    assert [found[run.key] for run in (one, other)] == [
        f"granularities=[1, 2], num_prompts=4, eta=0.7 ({run.key[:8]})" for run in (one, other)
    ]
    assert found[third.key] == f"granularities=[1], num_prompts=2, eta=0.3 ({third.key[:8]})"


def test_a_crossed_table_leaves_empty_what_nobody_has():
    figures = {"v": 1.0, "v_low": 0.5, "v_high": math.inf}
    rows = [{"step": 0, "granularity": 2} | figures, {"step": 1, "granularity": 1} | figures]
    assert _crossed(rows, "step", "granularity", ["v"]) == [
        "| step | λ = 1 | λ = 2 |",
        "|---|---|---|",
        "| 0 |  | 1.00 [0.500, inf] |",
        "| 1 | 1.00 [0.500, inf] |  |",
    ]


def test_a_figure_is_said_in_three_digits_and_without_an_interval_where_it_has_none():
    assert _with_interval({"v": 123.4, "v_low": 100.0, "v_high": 150.0}, "v") == "123 [100, 150]"
    assert _with_interval({"v": 0.01, "v_low": math.nan, "v_high": math.nan}, "v") == "0.0100"


def test_a_run_without_a_finished_round_is_refused(tmp_path):
    run, _ = begun()
    with pytest.raises(ValueError, match=f"A run with a finished round is required, got none in {run.key}. Train it."):
        signal_of_runs([run.key], tmp_path, phases=1)
