"""The plots of a comparison, of the runs of tests/support/whole_runs.py: what stands where on their axes.

Of the seeds 7 and 8 `fine` has gained .1 and .2 over the base, `coarse` .3 and .5; of rule_soft the base has .25.
"""

from math import pi, tan

import pytest
from comparisons import PLAN
from matplotlib.container import ErrorbarContainer

from flows.common.rows import pick
from flows.compare.plots import curves_plot, final_plot, pareto_plot, steps_plot
from flows.compare.report import Tables
from flows.compare.shown import Shown

CAUCHY = tan(pi * 0.475)
FINE, COARSE, BASE = "#0072B2", "#D55E00", "#777777"
VARIANTS = {"one": {"set": {}}, "two": {"set": {"update.clip_range": 0.1001}}}
"""In the second .1 more is gained."""


@pytest.fixture
def shown(by_hand):
    def make(**changes):
        plan, whole = by_hand(**changes)
        tables = Tables.of(plan, whole)
        return Shown.of(plan, whole, tables.best, tables.runs, tables.final, tables.curves)

    return make


def lines(axis, colour):
    """The points of the lines of a colour, without those of error bars and caps."""
    bars = {id(line) for bar in axis.containers if isinstance(bar, ErrorbarContainer) for line in bar.get_children()}
    found = [line for line in axis.lines if line.get_color() == colour and id(line) not in bars]
    return [list(zip(line.get_xdata(), line.get_ydata(), strict=True)) for line in found]


def means(axis):
    """The points that have error bars, by label."""
    return {bar.get_label(): [tuple(point) for point in bar.lines[0].get_xydata()] for bar in axis.containers}


def titles(figure):
    return [axis.get_title() for axis in figure.axes if axis.axison]


def key(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_final_plot_has_a_panel_for_each_reward_and_a_row_for_each_method(shown, figures, tmp_path):
    assert final_plot(shown(), tmp_path) == "final"
    figure = figures["final"]
    assert titles(figure) == ["rule_soft", "judge_a (trained on)", "judge_b", "rule_strict"]
    soft, *others = figure.axes
    assert [label.get_text() for label in soft.get_yticklabels()] == ["fine", "coarse"]
    assert all(label.get_text() == "" for axis in others for label in axis.get_yticklabels())
    fine, coarse = (bar.lines[0].get_xydata()[0] for bar in soft.containers)
    assert (*fine, *coarse) == pytest.approx((0.4, 0, 0.65, 1))
    assert lines(soft, FINE) == [[(pytest.approx(0.35), 0.25), (pytest.approx(0.45), 0.25)]]  # a dot a seed
    assert lines(soft, COARSE) == [[(pytest.approx(0.55), 1.25), (0.75, 1.25)]]
    assert lines(soft, BASE) == [[(0.25, 0), (0.25, 1)]]
    assert key(figure) == ["base"]


def test_the_axes_of_a_final_plot_show_all_seeds_and_the_base(shown, figures, tmp_path):
    """Points from .25 to .75; intervals of 12.7 times .05 and .1 widen that by half on either side, and 5 % of 1."""
    final_plot(shown(), tmp_path)
    assert figures["final"].axes[0].get_xlim() == pytest.approx((-0.05, 1.05))


def test_an_interval_in_the_final_plot_is_students(shown, figures, tmp_path):
    final_plot(shown(), tmp_path)
    (_, _, (bar,)) = figures["final"].axes[0].containers[1].lines
    ((low, _), (high, _)) = bar.get_segments()[0]
    assert (low, high) == (pytest.approx(0.65 - 0.1 * CAUCHY), pytest.approx(0.65 + 0.1 * CAUCHY))


def test_a_panel_without_a_reward_is_off(shown, figures, tmp_path):
    plain = shown(seeds=[7])
    more = [[row | {"reward": "fifth"} for row in pick(rows, reward="judge_b")] for rows in (plain.runs, plain.final)]
    runs, final = plain.runs + more[0], plain.final + more[1]
    final_plot(Shown(plain.plan, [*plain.rewards, "fifth"], plain.trained, runs, final, plain.curves), tmp_path)
    assert [axis.axison for axis in figures["final"].axes] == [True] * 5 + [False] * 3
    assert figures["final"].axes[4].get_yticklabels()[0].get_text() == "fine"  # the first of the second row


def test_a_variant_has_a_row_of_panels_of_its_own(shown, figures, tmp_path):
    all_rewards = shown(variants=VARIANTS, seeds=[7])
    one = Shown(all_rewards.plan, ["judge_a"], all_rewards.trained, all_rewards.runs, all_rewards.final, [])
    final_plot(one, tmp_path)
    assert titles(figures["final"]) == ["judge_a (trained on)\none", "judge_a (trained on)\ntwo"]
    first, second = (axis.containers[0].lines[0].get_xdata().tolist() for axis in figures["final"].axes)
    assert (first, second) == ([pytest.approx(0.6)], [pytest.approx(0.7)])


def test_curves_are_drawn_over_evaluations_and_over_seconds(shown, figures, tmp_path):
    assert curves_plot(shown(), "", tmp_path, "curves") == "curves"
    figure = figures["curves"]
    assert figure.get_suptitle() == "tuning captions"
    evaluations, seconds = figure.axes[:2]
    assert evaluations.get_ylabel() == "rule_soft"
    assert figure.axes[2].get_ylabel() == "judge_a (trained on)"
    assert lines(evaluations, FINE) == [[(0, 0.25), (184, pytest.approx(0.4))]]
    assert lines(evaluations, COARSE) == [[(0, 0.25), (160, pytest.approx(0.65))]]
    assert lines(seconds, COARSE) == [[(0, 0.25), (6, pytest.approx(0.65))]]
    assert [axis.get_xlabel() for axis in figure.axes[-2:]] == [
        *("transformer evaluations of training", "CPU-seconds of training")
    ]
    assert len(evaluations.collections) == 2  # a band over seeds for each method
    assert evaluations.get_ylim() == pytest.approx((-0.05, 1.05))
    assert key(figure) == ["fine", "coarse"]


def test_curves_of_one_seed_have_no_band_and_name_their_variant(shown, figures, tmp_path):
    curves_plot(shown(variants=VARIANTS, seeds=[7]), "two", tmp_path, "curves-two")
    figure = figures["curves-two"]
    assert figure.get_suptitle() == "tuning captions, two"
    assert len(figure.axes[0].collections) == 0
    assert lines(figure.axes[0], FINE) == [[(0, 0.25), (184, pytest.approx(0.45))]]


def test_the_final_means_are_drawn_over_numbers_of_inference_steps(shown, figures, tmp_path):
    """Methods stand beside each other by .012 of the axis, which is 4 wide, about the place of the number."""
    assert steps_plot(shown(set={**PLAN["set"], "report.num_steps": [4, 8]}), tmp_path) == "inference-steps"
    figure = figures["inference-steps"]
    assert titles(figure) == ["rule_soft", "judge_a (trained on)", "judge_b", "rule_strict"]
    soft = figure.axes[0]
    assert soft.get_xticks().tolist() == [4, 8]
    assert soft.get_xlabel() == "inference steps"
    found = means(soft)
    assert list(found) == ["base", "fine", "coarse"]
    assert found["fine"] == [(4, pytest.approx(0.4)), (8, pytest.approx(0.4))]
    assert found["base"] == [(pytest.approx(4 - 0.048), 0.25), (pytest.approx(8 - 0.048), 0.25)]
    assert found["coarse"][0] == (pytest.approx(4 + 0.048), pytest.approx(0.65))


def test_a_variant_of_which_nothing_is_there_is_left_empty(shown, figures, tmp_path):
    there = shown(set={**PLAN["set"], "report.num_steps": [4, 8]}, variants=VARIANTS, seeds=[7])
    final = [row for row in there.final if row["variant"] == "one"]
    steps_plot(Shown(there.plan, there.rewards, there.trained, there.runs, final, there.curves), tmp_path)
    assert [axis.axison for axis in figures["inference-steps"].axes] == [True] * 4 + [False] * 4


def test_each_trained_reward_is_drawn_against_each_held_out_one(shown, figures, tmp_path):
    assert pareto_plot(shown(), tmp_path) == "pareto"
    axes = figures["pareto"].axes
    assert {axis.get_xlabel() for axis in axes} == {"judge_a (trained on)"}
    assert [axis.get_ylabel() for axis in axes] == ["rule_soft", "judge_b", "rule_strict"]
    soft = axes[0]
    assert means(soft)["fine"] == [(pytest.approx(0.65), pytest.approx(0.4))]
    assert means(soft)["coarse"] == [(pytest.approx(0.9), pytest.approx(0.65))]
    assert lines(soft, FINE) == [[(0.6, 0.35), (0.7, pytest.approx(0.45))]]
    assert lines(soft, BASE) == [[(0.5, 0.25)]]
    assert (soft.get_xlim(), soft.get_ylim()) == (pytest.approx((0.2, 1.3)), pytest.approx((-0.05, 1.05)))
    assert key(figures["pareto"]) == ["base", "fine", "coarse"]


def test_without_two_rewards_there_is_nothing_to_set_against_each_other(shown, figures, tmp_path):
    one = shown()
    assert pareto_plot(Shown(one.plan, ["judge_a"], one.trained, one.runs, one.final, one.curves), tmp_path) is None
    assert figures == {}
