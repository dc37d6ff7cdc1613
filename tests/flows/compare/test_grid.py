"""Results of a grid of parameters: the best point of each method in the form of a plan, and the plot of all."""

from math import nan

import pytest
import yaml
from comparisons import PLAN, write_plan

from flows.compare.grid import best_yaml, grid_plot
from flows.compare.plan import load_plan

GRID = {"update.learning_rate": [1e-4, 1e-3], "rollout.steps": [[0, 1], [1, 2]], "update.num_epochs": [1, 2]}
MEANS = {1e-4: 0.2, 1e-3: 0.3, "[0, 1]": 0.0, "[1, 2]": 0.05, 1: 0.0, 2: 0.01}
"""What a point's values are worth, together."""


def plan_of(folder, **changes):
    return load_plan(write_plan(folder, grid=GRID, **changes))


def tuning(variant=""):
    """The metric at each point of the grid, of one seed; `coarse` is better by .5."""
    points = [(rate, steps, epochs) for rate in (1e-4, 1e-3) for steps in ("[0, 1]", "[1, 2]") for epochs in (1, 2)]
    return [
        {"method": method, "variant": variant, **dict(zip(GRID, point, strict=True)), "n": 1, "std": nan}
        | {"mean": more + sum(MEANS[value] for value in point), "low": nan, "high": nan, "split": "tuning"}
        for method, more in (("fine", 0.0), ("coarse", 0.5))
        for point in points
    ]


def best(variant=""):
    return [
        max((row for row in tuning(variant) if row["method"] == m), key=lambda r: r["mean"]) for m in PLAN["methods"]
    ]


def test_the_best_points_are_written_as_the_methods_of_a_plan(tmp_path):
    text = best_yaml(best(), plan_of(tmp_path))
    assert text.startswith("# Best by rule_soft on the tuning captions.\n")
    point = {"update.learning_rate": 1e-3, "rollout.steps": [1, 2], "update.num_epochs": 2}
    assert yaml.safe_load(text) == {"methods": {"fine": {"set": point}, "coarse": {"set": point}}}


def test_with_variants_the_best_points_stand_under_the_name_of_each(tmp_path):
    plan = plan_of(tmp_path, variants={"one": {"set": {}}, "two": {"set": {}}})
    tree = yaml.safe_load(best_yaml([*best("one"), *best("two")], plan))
    assert {variant: list(under["methods"]) for variant, under in tree.items()} == {
        "one": ["fine", "coarse"],
        "two": ["fine", "coarse"],
    }


def test_the_metric_is_drawn_over_each_parameter_with_the_others_at_their_best(tmp_path, figures):
    assert grid_plot(tuning(), best(), plan_of(tmp_path), tmp_path) == "grid"
    rate, steps, epochs = figures["grid"].axes
    assert [axis.get_xlabel() for axis in (rate, steps, epochs)] == list(GRID)
    assert rate.get_ylabel() == "rule_soft, tuning captions"
    points = {bar.get_label(): bar.lines[0].get_xydata().tolist() for bar in rate.containers}
    assert points["fine"] == [pytest.approx([1e-4, 0.26]), pytest.approx([1e-3, 0.36])]
    assert points["coarse"] == [pytest.approx([1e-4, 0.76]), pytest.approx([1e-3, 0.86])]
    assert rate.get_ylim() == pytest.approx((0.26 - 0.03, 0.86 + 0.03))
    assert [text.get_text() for text in figures["grid"].legends[0].get_texts()] == ["fine", "coarse"]


def test_values_lie_as_numbers_a_wide_range_by_its_logarithm_and_what_is_no_number_in_order(tmp_path, figures):
    grid_plot(tuning(), best(), plan_of(tmp_path), tmp_path)
    rate, steps, epochs = figures["grid"].axes
    assert [axis.get_xscale() for axis in (rate, steps, epochs)] == ["log", "linear", "linear"]
    assert [text.get_text() for text in rate.get_xticklabels()] == ["0.0001", "0.001"]
    assert [text.get_text() for text in steps.get_xticklabels()] == ["[0, 1]", "[1, 2]"]
    assert steps.containers[0].lines[0].get_xdata().tolist() == [0, 1]
    assert epochs.containers[0].lines[0].get_xdata().tolist() == [1, 2]


def test_a_grid_has_a_row_of_panels_for_each_variant(tmp_path, figures):
    one = {"update.num_epochs": [1, 2]}
    plan = load_plan(write_plan(tmp_path, variants={"one": {"set": {}}, "two": {"set": {}}}, grid=one))
    grid_plot([*tuning("one"), *tuning("two")], [*best("one"), *best("two")], plan, tmp_path)
    assert [axis.get_title() for axis in figures["grid"].axes] == ["one", "two"]
