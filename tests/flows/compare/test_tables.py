"""The figures of a comparison as tables, with numbers derived by hand from tests/support/whole_runs.py.

Of the seeds 7 and 8 `fine` has gained .1 and .2 over the base, `coarse` .3 and .5; a round costs 92 and 80.
"""

from dataclasses import replace
from math import isnan, nan, pi, sqrt, tan

import pytest
from comparisons import PLAN, write_plan
from whole_runs import ROUND

from flows.common.rows import column, distinct, pick
from flows.compare.plan import load_plan
from flows.compare.tables import (
    at_best,
    base_table,
    best_of,
    cost_table,
    curves_table,
    final_table,
    paired_table,
    point_text,
    runs_table,
    tuning_table,
)

CAUCHY = tan(pi * 0.475)
"""The quantile of t with one degree of freedom."""
GRID = {"update.clip_range": [0.0001, 0.1001]}
"""At the second point .1 more is gained."""


@pytest.fixture
def whole(by_hand):
    return by_hand()


@pytest.fixture
def of_grid(by_hand):
    """One seed of the coarse method at two points, and one of the fine."""
    return by_hand(grid=GRID, seeds=[7])


def test_a_run_has_a_row_for_each_of_its_last_figures_with_what_it_cost(whole):
    _, runs = whole
    rows = runs_table(runs)
    assert len(rows) == 4 * 2 * 4  # runs, splits, rewards
    (row,) = pick(rows, method="coarse", seed=8, split="test", reward="judge_a")
    assert row == {
        **{"method": "coarse", "variant": "", "seed": 8, "run_key": "coarse-s8", "rounds": 2},
        **{"evaluations": 160, "cpu_seconds": 6.0, "wall_seconds": 4.0},
        **{"split": "test", "num_steps": 4, "reward": "judge_a", "value": 1.0, "prompts": 2},
    }
    assert isinstance(row["evaluations"], int)


def test_the_base_has_a_row_for_each_method_with_the_name_of_its_evaluation(whole):
    _, runs = whole
    rows = base_table(runs)
    assert len(rows) == 2 * 4  # methods and rewards: seeds share it
    assert distinct(rows, "base") == [runs[0].placed.base.name]
    (row,) = pick(rows, method="fine", reward="rule_soft")
    assert (row["value"], row["split"]) == (0.25, "test")


def test_the_final_table_tells_means_with_students_interval(whole):
    plan, runs = whole
    final = final_table(runs_table(runs), base_table(runs), plan)
    assert distinct(final, "method") == ["base", "fine", "coarse"]
    (row,) = pick(final, method="coarse", reward="rule_soft")
    assert (row["n"], row["num_steps"], row["variant"]) == (2, 4, "")
    assert (row["mean"], row["std"]) == (pytest.approx(0.65), pytest.approx(0.2 / sqrt(2)))
    assert (row["low"], row["high"]) == (pytest.approx(0.65 - 0.1 * CAUCHY), pytest.approx(0.65 + 0.1 * CAUCHY))
    (base,) = pick(final, method="base", reward="rule_soft")
    assert (base["n"], base["mean"]) == (1, 0.25)
    assert isnan(base["std"])


def test_methods_of_different_bases_have_each_its_own(whole):
    plan, runs = whole
    bases = base_table(runs)
    for row in pick(bases, method="coarse"):
        row |= {"base": "another", "value": 0.0}
    final = final_table(runs_table(runs), bases, plan)
    assert distinct(final, "method") == ["base of fine", "base of coarse", "fine", "coarse"]
    assert column(pick(final, method="base of coarse", reward="rule_soft"), "mean") == [0.0]


def test_methods_are_paired_with_the_reference_by_seed(whole):
    """Differences .2 and .3: t = .25 / .05 = 5, and of Cauchy's law P(|t| > 5) = .1257."""
    plan, runs = whole
    rows = paired_table(runs_table(runs), plan)
    assert len(rows) == 4
    (row,) = pick(rows, reward="rule_soft")
    assert (row["method"], row["reference"], row["n"]) == ("coarse", "fine", 2)
    assert (row["difference"], row["std"]) == (pytest.approx(0.25), pytest.approx(0.1 / sqrt(2)))
    assert row["high"] - row["low"] == pytest.approx(2 * 0.05 * CAUCHY)
    assert row["p"] == pytest.approx(0.1257, abs=1e-4)
    assert row["p_holm"] == row["p"]  # the only method, so a family of one


def test_a_family_of_tests_is_corrected_over_variants(by_hand):
    variants = {"one": {"set": {}}, "two": {"set": {"update.clip_range": 0.1}}}
    plan, runs = by_hand(variants=variants)
    first, second = pick(paired_table(runs_table(runs), plan), reward="rule_soft")
    assert (first["variant"], second["variant"]) == ("one", "two")
    assert first["p_holm"] == pytest.approx(2 * 0.1257, abs=2e-4)


def test_a_family_is_all_methods_of_one_reward_at_one_number_of_steps(tmp_path):
    """Of Student's law with 2 degrees of freedom, P(|T| > t) = 1 - t / sqrt(t^2 + 2)."""
    plan = load_plan(write_plan(tmp_path, methods={"fine": {}, "coarse": {}, "both": {}}))
    of_fine = (0.5, 0.6, 0.8)
    differences = {
        (4, "coarse"): (0.1, 0.2, 0.3),  # t = 3.4641, p = .0742
        (4, "both"): (0.2, 0.2, 0.5),  # t = 3, p = .0955
        (8, "coarse"): (0.1, 0.2, 0.6),  # t = 1.9640, p = .1885
        (8, "both"): (0.3, 0.3, 0.9),  # t = 2.5, p = .1296
    }
    rows = [
        {"variant": "", "split": "test", "num_steps": steps, "reward": "rule_soft", "method": method}
        | {"seed": seed, "value": of_fine[seed] + (0 if method == "fine" else differences[steps, method][seed])}
        for steps in (4, 8)
        for method in ("fine", "coarse", "both")
        for seed in ((0, 1, 2) if method == "fine" else (2, 0, 1))
    ]
    found = {(row["num_steps"], row["method"]): (row["p"], row["p_holm"]) for row in paired_table(rows, plan)}
    assert found == {
        (4, "coarse"): pytest.approx((0.07418, 2 * 0.07418), abs=1e-5),
        (4, "both"): pytest.approx((0.09546, 2 * 0.07418), abs=1e-5),
        (8, "coarse"): pytest.approx((0.18850, 2 * 0.12961), abs=2e-5),
        (8, "both"): pytest.approx((0.12961, 2 * 0.12961), abs=2e-5),
    }


def test_a_seed_that_one_method_lacks_is_not_paired(whole):
    plan, runs = whole
    rows = paired_table(runs_table([each for each in runs if each.placed.cell.slug != "fine-s8"]), plan)
    assert {row["n"] for row in rows} == {1}
    assert isnan(rows[0]["p"])
    assert paired_table(runs_table([each for each in runs if each.placed.cell.method == "coarse"]), plan) == []


def test_curves_tell_what_was_spent_by_then(whole):
    _, runs = whole
    rows = pick(curves_table(runs), method="coarse", seed=7, reward="rule_soft")
    assert column(rows, "policy_round") == [0, 2]
    assert column(rows, "value") == [0.25, 0.55]
    assert {row["split"] for row in rows} == {"tuning"}
    assert [rows[0][name] for name in ("evaluations", "cpu_seconds", "wall_seconds")] == [0, 0, 0]
    assert [rows[1][name] for name in ("evaluations", "cpu_seconds", "wall_seconds")] == [160, 6, 4]


def test_the_cost_of_a_run_is_a_mean_over_seeds(whole):
    plan, runs = whole
    dear = [{**ROUND, "cpu_seconds": 5.0, "peak_bytes/update": 3.0 * 2**30}] * 2
    fine, coarse = cost_table([replace(each, rounds=dear) if each is runs[0] else each for each in runs], plan)
    assert (fine["method"], fine["cpu_seconds"], fine["peak_bytes"]) == ("fine", (10 + 6) / 2, 2 * 2**30)
    assert coarse == {
        **{"method": "coarse", "variant": "", "rounds": 2, "evaluations": 160, "cpu_seconds": 6, "wall_seconds": 4},
        **{"prompts": 4, "evaluations_per_prompt": 20, "peak_bytes": 2**30},  # 80 a round, of four prompts
    }


def test_a_grid_is_chosen_from_by_the_tuning_captions(of_grid):
    plan, runs = of_grid
    tuning = tuning_table(runs_table(runs), runs, plan)
    assert {(row["metric"], row["split"]) for row in tuning} == {("rule_soft", "tuning")}
    found = {(row["method"], row["update.clip_range"]): row["mean"] for row in tuning}
    assert found == {
        ("fine", 0.0001): pytest.approx(0.35),
        ("fine", 0.1001): pytest.approx(0.45),
        ("coarse", 0.0001): pytest.approx(0.55),
        ("coarse", 0.1001): pytest.approx(0.65),
    }


def test_the_best_point_has_the_highest_mean_of_those_with_the_most_seeds():
    rows = [
        {"method": "a", "variant": "", "x": 1, "n": 2, "mean": 0.3},
        {"method": "a", "variant": "", "x": 2, "n": 2, "mean": 0.4},
        {"method": "a", "variant": "", "x": 3, "n": 1, "mean": 0.9},  # a seed has failed there
        {"method": "b", "variant": "", "x": 1, "n": 2, "mean": 0.1},
    ]
    assert [(row["method"], row["x"]) for row in best_of(rows)] == [("a", 2), ("b", 1)]


def test_rows_at_the_best_points_are_kept_and_the_bases_at_the_first_methods(of_grid):
    plan, _ = of_grid
    key = "update.clip_range"
    best = [{"method": "fine", "variant": "", key: 1}, {"method": "coarse", "variant": "", key: 2}]
    rows = [{"method": method, "variant": "", key: at} for method in ("base", "fine", "coarse") for at in (1, 2)]
    kept = at_best(rows, best, plan)
    assert [(row["method"], row[key]) for row in kept] == [("base", 1), ("fine", 1), ("coarse", 2)]


def test_a_value_of_a_grid_is_a_number_or_a_text():
    assert [point_text(value) for value in (0.5, "cps", [1, 2], None)] == [0.5, "cps", "[1, 2]", "null"]


def test_a_grids_points_stand_in_every_row(by_hand):
    plan, runs = by_hand(methods={"fine": PLAN["methods"]["fine"]}, grid={"rollout.steps": [[0, 1], [1, 2]]}, seeds=[7])
    assert distinct(runs_table(runs), "rollout.steps") == ["[0, 1]", "[1, 2]"]
    assert column(cost_table(runs, plan), "rollout.steps") == ["[0, 1]", "[1, 2]"]


def test_a_figure_that_is_no_number_is_not_left_out_of_its_pair(whole):
    plan, runs = whole
    rows = runs_table(runs)
    pick(rows, reward="rule_soft", method="coarse", split="test")[0]["value"] = nan
    (row,) = pick(paired_table(rows, plan), reward="rule_soft")
    assert row["n"] == 2
    assert isnan(row["difference"])
    assert isnan(row["p"])
