"""The plan of a comparison, checked by itself."""

import pytest
from comparisons import PLAN, write_plan

from flows.compare.plan import load_plan, point_values, slug


def test_a_plan_is_read_from_its_file(tmp_path):
    plan = load_plan(write_plan(tmp_path, grid={"update.learning_rate": ["1e-4", 3e-4]}))
    assert (plan.title, plan.budget, plan.seeds, plan.processes) == ("Granularities", 230, [7, 8], 2)
    assert plan.methods["coarse"].set == {"complete.granularities": [2]}
    assert (plan.reference, plan.metric, plan.split, plan.variants) == ("fine", "rule_soft", "tuning", {})
    assert plan.grid == {"update.learning_rate": [1e-4, 3e-4]}  # what YAML takes for a text is a number here


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sets": {}}, "sets: unknown key, got {}. Remove it or correct it; known here: title, params, set"),
        ({"methods": {"fine": {"sett": 1}}}, r"methods.fine.sett: unknown key, got 1. .* known here: params, set"),
        ({"variants": {"v": {"params": 1, "set": {}}}}, r"variants.v.params: unknown key, got 1. .* known here: set"),
        ({"budget": None}, "budget: required, got nothing. Add it; presets/compare.yaml is a complete plan."),
        ({"budget": 0}, "budget: input should be greater than or equal to 1, got 0. Change it in the plan."),
        ({"seeds": []}, "seeds: list should have at least 1 item"),
        ({"seeds": [1, 1]}, r"seeds: distinct values are required, got \[1, 1\]"),
        ({"grid": {"update.clip_range": [0.1, 0.1]}}, "grid.update.clip_range: distinct values are required"),
        ({"reference": "mine"}, "reference: one of the methods fine, coarse is required, got 'mine'"),
        ({"split": "train"}, "split: input should be 'test' or 'tuning', got 'train'"),
        ({"set": {"run.seed": 3}}, "set.run.seed: the plan's key seeds determines it"),
        ({"grid": {"run.rounds": [3]}}, "grid.run.rounds: the plan's key budget determines it"),
        ({"grid": {"eta": [0.7]}}, "grid: keys of the form section.key are required, got 'eta'"),
        ({"set": {"rollout.eta=0.3 #": 0.7}}, r"set: keys of the form section.key are .*, got 'rollout.eta=0.3 #'. Ex"),
        ({"grid": {"rollout.eta\n": [0.7]}}, "grid"),
        ({"methods": {"fine": {"set": {"rollout.eta ": 1}}}}, "methods.fine.set: keys of the form section.key are"),
        ({"variants": {"v": {"set": {"rollout..eta": 1}}}}, "variants.v.set: keys of the form section.key are req"),
        ({"variants": {"v": {"set": {"eta.": 1}}}}, "variants.v.set: keys of the form section.key are required"),
        ({"methods": {"base": {}}, "reference": "base"}, "methods: names other than base"),
        ({"methods": {"a b": {}, "a-b": {}}, "reference": "a b"}, "names that differ in a letter or digit"),
        ({"methods": {"a\x1b": {}}, "reference": "a"}, r"line .* of .*: YAML is required, got: the control character"),
        (
            {"seeds": list(range(1000)), "variants": {v: {"set": {}} for v in "abcdefgh"}},
            "grid: at most 10,000 runs, .*16,000",
        ),
        ({"budget": 10**13}, "budget: input should be less than or equal to 1000000000000"),
        (
            {"metric": "hf/jpeg"},
            "metric: a name of at most 64 .* got 'hf/jpeg': it becomes a metric",
        ),
        ({"methods": {"x" * 201: {}}, "reference": "x"}, "string should have at most 200 characters, got 'xxx"),
        ({"variants": {"?": {"set": {}}}}, r"variants: names that differ in a letter or digit are required, got '\?'"),
    ],
)
def test_faults_of_a_plan_are_told_in_its_own_words(tmp_path, changes, said):
    with pytest.raises(ValueError, match=said):
        load_plan(write_plan(tmp_path, **changes))


def test_every_fault_is_told_at_once(tmp_path):
    path = write_plan(tmp_path, budget=0, processes=0, split=None)
    with pytest.raises(ValueError) as refused:
        load_plan(path)
    first, *faults = str(refused.value).splitlines()
    assert first == f"The plan {path} is not valid; nothing was started."
    assert [fault.split(":")[0].strip() for fault in faults] == ["budget", "processes", "split"]


def test_a_grid_whose_runs_would_report_on_test_captions_is_refused(tmp_path):
    grid = {"update.clip_range": [0.1, 0.2]}
    assert load_plan(write_plan(tmp_path, split="tuning", grid=grid)).grid == grid
    with pytest.raises(ValueError, match="split: tuning is required with a grid, got test") as refused:
        load_plan(write_plan(tmp_path, split="test", grid=grid))
    assert "another plan without a grid and with other seeds" in str(refused.value)


def test_a_plan_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"A plan is required, got .*, which does not exist. Correct --plan"):
        load_plan(tmp_path / "lost.yaml")
    (tmp_path / "list.yaml").write_text("[1]")
    with pytest.raises(ValueError, match="must hold keys and values, got list"):
        load_plan(tmp_path / "list.yaml")


def test_a_name_is_a_part_of_a_file_name_and_values_are_told_as_a_person_reads_them():
    assert [slug(name) for name in ("one reward", "rollout.eta=0.7", "mix_grpo", "?")] == [
        *("one-reward", "rollout-eta-0-7", "mix_grpo", "")
    ]
    assert point_values({"update.learning_rate": 0.0002, "complete.granularities": [1]}) == [
        *("update.learning_rate=0.0002", "complete.granularities=[1]")
    ]
    assert point_values(PLAN["methods"]["fine"]["set"]) == ["complete.granularities=[1]"]
