"""A plan with its runs, each with its folder in the store."""

import json

import pytest
from comparisons import PLAN, write_plan
from tiny import ROOT

from flows.compare.comparison import Comparison
from flows.compare.machine import machine
from stages.params.file import parse_params


def test_a_comparison_has_a_run_for_each_cell_at_its_place_in_the_store(tmp_path, store):
    path = write_plan(tmp_path, "mine", seeds=[7])
    comparison = Comparison.of(path)
    assert (comparison.name, comparison.path, comparison.plan.title) == ("mine", path, "Granularities")
    assert [placed.cell.name for placed in comparison.runs] == ["fine, seed 7", "coarse, seed 7"]
    assert {placed.run.path.parent for placed in comparison.runs} == {store / "runs"}
    assert {placed.split for placed in comparison.runs} == {"test"}
    assert not store.exists()


def test_every_cell_is_checked_before_any_is_run(tmp_path, store):
    methods = PLAN["methods"] | {"third": {"set": {"rollout.groupsize": 3}}}
    with pytest.raises(ValueError, match=r"(?s)In the plan, third: .*rollout.groupsize: unknown key, got 3"):
        Comparison.of(write_plan(tmp_path, methods=methods))
    held_out = PLAN["methods"] | {"third": {"set": {"evaluate.num_prompts": 9999}}}
    with pytest.raises(ValueError, match=r"In the plan, third: evaluate.num_prompts: at most"):
        Comparison.of(write_plan(tmp_path, methods=held_out))
    assert not store.exists()


def test_two_names_for_one_run_are_refused(tmp_path):
    methods = PLAN["methods"] | {"again": {"set": {"complete.granularities": [1]}}}
    with pytest.raises(ValueError, match=r"same run \w+ for \(fine, seed 7\) and for \(again, seed 7\)"):
        Comparison.of(write_plan(tmp_path, methods=methods))


def test_a_task_says_all_that_a_process_needs_in_json(tmp_path, store):
    comparison = Comparison.of(write_plan(tmp_path, "mine", seeds=[7]))
    placed = comparison.runs[1]
    task = json.loads(json.dumps(comparison.task(placed)))
    assert parse_params(task["params"]) == placed.cell.params
    assert task["links"] == {"plan": "mine", "method": "coarse", "machine": machine()}  # no variant, so none is named
    assert (task["split"], task["log"]) == ("test", str(store / f"compare/mine/coarse-s7-{placed.key}.log"))
    assert task["runs"] == [str(each.run.path) for each in comparison.runs]


def test_a_variant_is_among_the_links_of_its_runs(tmp_path):
    variants = {"two rewards": {"set": {"score.rewards": ["judge_a", "rule_soft"]}}}
    weights = {"integrate.reward_weights": {"judge_a": 1.0, "rule_soft": 1.0}}
    path = write_plan(tmp_path, variants=variants, set=PLAN["set"] | weights, params=str(ROOT / "params.yaml"))
    comparison = Comparison.of(path)
    assert comparison.task(comparison.runs[0])["links"]["variant"] == "two rewards"
