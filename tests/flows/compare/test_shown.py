"""What the plots of a comparison draw, of the runs of tests/support/whole_runs.py."""

import pytest
from comparisons import PLAN

from flows.common.rows import distinct
from flows.compare.report import Tables
from flows.compare.shown import Shown

TWO_REWARDS = {
    "one": {"set": {}},
    "two": {
        "set": {
            "score.rewards": ["judge_a", "judge_b"],
            "integrate.reward_weights": {"judge_a": 1.0, "judge_b": 1.0},
        }
    },
}


def shown_of(plan, whole):
    tables = Tables.of(plan, whole)
    return Shown.of(plan, whole, tables.best, tables.runs, tables.final, tables.curves)


@pytest.fixture
def plain(by_hand):
    return shown_of(*by_hand())


@pytest.fixture
def varied(by_hand):
    return shown_of(*by_hand(variants=TWO_REWARDS, seeds=[7]))


def test_the_metric_comes_first_and_the_rewards_trained_on_are_known_by_variant(plain, varied):
    assert plain.rewards == ["rule_soft", "judge_a", "judge_b", "rule_strict"]
    assert plain.trained == {"": ["judge_a"]}
    assert varied.trained == {"one": ["judge_a"], "two": ["judge_a", "judge_b"]}
    assert (plain.variants, varied.variants) == ([""], ["one", "two"])


def test_methods_keep_the_look_of_their_place_in_the_plan(plain):
    assert list(plain.look.methods) == ["fine", "coarse"]


def test_the_headlines_number_of_inference_steps_comes_first(by_hand):
    plan = {**PLAN["set"], "report.num_steps": [4, 2, 8]}
    assert shown_of(*by_hand(set=plan, seeds=[7])).steps == [4, 2, 8]


def test_a_panel_is_headed_by_its_reward_whether_it_was_trained_on_and_its_variant(plain, varied):
    assert (plain.mark("judge_a", ""), plain.mark("judge_b", "")) == (" (trained on)", "")
    assert plain.title("judge_a", "") == "judge_a (trained on)"
    assert varied.title("judge_b", "one") == "judge_b\none"
    assert varied.title("judge_b", "two") == "judge_b (trained on)\ntwo"


def test_the_base_has_one_value_for_each_reward(plain, varied):
    assert plain.bases("", "rule_soft") == [0.25]
    assert varied.bases("two", "judge_b") == [0.75]


def test_trained_rewards_are_set_against_those_held_out(plain, varied):
    held_out = [("judge_a", "rule_soft"), ("judge_a", "judge_b"), ("judge_a", "rule_strict")]
    assert list(plain.against("")) == held_out
    two = [(trained, other) for trained in ("judge_a", "judge_b") for other in ("rule_soft", "rule_strict")]
    assert list(varied.against("two")) == two
    only = Shown(varied.plan, ["judge_a", "judge_b"], varied.trained, [], [], [])
    assert list(only.against("two")) == [("judge_a", "judge_b")]  # each pair once


def test_of_a_grid_the_best_point_of_each_method_is_shown(by_hand):
    shown = shown_of(*by_hand(grid={"update.clip_range": [0.0001, 0.1001]}))
    for table in (shown.runs, shown.final, shown.curves):
        assert distinct(table, "update.clip_range") == [0.1001]
    assert {row["method"] for row in shown.final} == {"base", "fine", "coarse"}
