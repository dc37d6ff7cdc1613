"""Plans: what their runs are, and what is refused before any is started."""

import pytest
from comparisons import PLAN, write_plan
from tiny import ROOT

from flows.compare.cells import cells_of
from flows.compare.comparison import Comparison
from flows.compare.plan import load_plan


@pytest.fixture(autouse=True)
def _store(tmp_path, monkeypatch):
    monkeypatch.setenv("G2RPO_HOME", str(tmp_path / "store"))


def cells(path):
    return cells_of(load_plan(path), path.parent)


def preset(folder, name, text, extends=ROOT / "params.yaml"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"extends: {extends}\n{text}" if extends else text)


def test_the_runs_are_methods_times_variants_times_grid_times_seeds_seed_by_seed(tmp_path):
    variants = {"one": {"set": {}}, "two": {"set": {"rollout.eta": 0.5}}}
    grid = {"update.learning_rate": ["1e-4", 3e-4], "update.clip_range": [0.1]}
    found = cells(write_plan(tmp_path, variants=variants, grid=grid))
    assert len(found) == 2 * 2 * 2 * 2
    assert {cell.seed for cell in found[:8]} == {7}
    assert found[0].name == "fine, one, update.learning_rate=0.0001, update.clip_range=0.1, seed 7"
    last = found[-1]
    assert (last.method, last.variant, last.seed) == ("coarse", "two", 8)
    assert (last.params.rollout.eta, last.params.update.learning_rate, last.params.run.seed) == (0.5, 3e-4, 8)
    assert last.params.complete.granularities == (2,)


def test_a_budget_pays_for_whole_rounds(tmp_path):
    """Forwards of a prompt: 2 of the anchor, and of 3 branches 3 + 2 in strides of 1, or 2 + 2 in strides of 2.

    The update of 2 steps of 4 prompts is 3 for each; the KL is not charged. So 4 x 17 + 24, or 4 x 14 + 24.
    """

    def rounds(budget):
        found = cells(write_plan(tmp_path, budget=budget, seeds=[1]))
        return {cell.method: cell.params.run.rounds for cell in found}

    assert rounds(3 * 92) == {"fine": 3, "coarse": 3}
    assert rounds(3 * 92 - 1) == {"fine": 2, "coarse": 3}
    assert rounds(4 * 80) == {"fine": 3, "coarse": 4}


def test_the_particular_goes_over_the_general(tmp_path):
    """Files lie below what any `set` says; of those the method's, the variant's and the grid's go over the plan's."""
    preset(tmp_path / "methods", "below.yaml", "rollout: {eta: 0.1, micro_batch: 11}\nupdate: {weight_decay: 0.5}")
    preset(tmp_path / "methods", "above.yaml", "rollout: {eta: 0.2}", extends="below.yaml")
    changes = {
        "methods": {"a": {"params": "methods/above.yaml"}, "b": {"set": {"update.ema_decay": 0.9}}},
        "variants": {"v": {"set": {"update.num_epochs": 3}}},
        "grid": {"update.num_epochs": [4]},
        "set": {key: value for key, value in PLAN["set"].items() if key != "rollout.eta"}
        | {"update.ema_decay": 0.8, "update.num_epochs": 2, "rollout.micro_batch": 22},
    }
    a, b = cells(write_plan(tmp_path, reference="a", seeds=[1], budget=2000, **changes))
    assert (a.params.rollout.eta, a.params.rollout.micro_batch, a.params.update.weight_decay) == (0.2, 22, 0.5)
    assert (a.params.update.ema_decay, b.params.update.ema_decay) == (0.8, 0.9)
    assert (a.params.update.num_epochs, b.params.rollout.eta) == (4, 0.5)


def test_what_a_preset_extends_at_the_end_is_not_laid_over(tmp_path):
    """The params.yaml below a method's preset is not a part of it: the plan's own params are what lies below."""
    preset(tmp_path, "own.yaml", "update: {weight_decay: 0.25}")
    preset(tmp_path / "methods", "other.yaml", "update: {clip_range: 0.1}")
    changes = {"params": "own.yaml", "methods": {"a": {"params": "methods/other.yaml"}}}
    (found,) = cells(write_plan(tmp_path, reference="a", seeds=[1], **changes))
    assert (found.params.update.weight_decay, found.params.update.clip_range) == (0.25, 0.1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sets": {}}, "sets: unknown key, got {}. Remove it or correct it; known here: title, params, set"),
        ({"methods": {"fine": {"sett": 1}}}, r"methods.fine.sett: unknown key, got 1. .* known here: params, set"),
        ({"variants": {"v": {"params": 1, "set": {}}}}, r"variants.v.params: unknown key, got 1. .* known here: set"),
        ({"budget": None}, "budget: required, got nothing"),
        ({"budget": 0}, "budget: input should be greater than or equal to 1, got 0"),
        ({"budget": 91}, r"In the plan, fine: .*costs 92 transformer evaluations, got 91"),
        ({"seeds": []}, "seeds: list should have at least 1 item"),
        ({"seeds": [1, 1]}, r"seeds: distinct values are required, got \[1, 1\]"),
        ({"grid": {"update.clip_range": [0.1, 0.1]}}, "grid.update.clip_range: distinct values are required"),
        ({"reference": "mine"}, "reference: one of the methods fine, coarse is required, got 'mine'"),
        ({"metric": "beauty"}, "metric: one of evaluate.rewards is required, which are judge_a, .*; got beauty"),
        ({"split": "train"}, "split: input should be 'test' or 'tuning', got 'train'"),
        ({"set": {"run.seed": 3}}, "set.run.seed: it follows from the plan's seeds"),
        ({"grid": {"run.rounds": [3]}}, "grid.run.rounds: it follows from the plan's budget"),
        ({"grid": {"eta": [0.7]}}, "grid: keys of the form section.key are required, got 'eta'"),
        ({"methods": {"base": {}}, "reference": "base"}, "methods: other names than base"),
        ({"methods": {"a b": {}, "a-b": {}}, "reference": "a b"}, "names that differ in a letter or digit"),
        ({"methods": {"fine": {"params": "lost.yaml"}}}, r"methods.fine.params: .*lost.yaml, which does not exist"),
        ({"params": "lost.yaml"}, "lost.yaml, which does not exist"),
    ],
)
def test_faults_of_a_plan_are_told_in_its_own_words(tmp_path, changes, said):
    with pytest.raises(ValueError, match=said):
        cells(write_plan(tmp_path, **changes))


def test_every_cell_is_checked_before_any_is_run(tmp_path):
    methods = PLAN["methods"] | {"third": {"set": {"rollout.groupsize": 3}}}
    with pytest.raises(ValueError, match=r"(?s)In the plan, third: .*rollout.groupsize: unknown key, got 3"):
        Comparison.of(write_plan(tmp_path, methods=methods))
    held_out = PLAN["methods"] | {"third": {"set": {"evaluate.num_prompts": 9999}}}
    with pytest.raises(ValueError, match=r"In the plan, third: evaluate.num_prompts: at most"):
        Comparison.of(write_plan(tmp_path, methods=held_out))
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [("evaluate.num_steps", [2], "the curves"), ("report.num_noises", 2, "the final figures")],
)
def test_runs_that_are_not_judged_alike_are_refused(tmp_path, key, value, part):
    methods = PLAN["methods"] | {"third": {"set": {key: value, "rollout.eta": 0.5}}}
    with pytest.raises(ValueError, match=f"judged alike are required for {part}, got .* for .fine, seed 7.; .*third"):
        cells(write_plan(tmp_path, methods=methods))


def test_a_plan_that_chooses_by_its_final_captions_tests_nothing(tmp_path):
    grid = {"update.clip_range": [0.1, 0.2]}
    assert load_plan(write_plan(tmp_path, split="tuning", grid=grid)).chooses
    assert not load_plan(write_plan(tmp_path, split="test", grid=grid)).chooses
    assert not load_plan(write_plan(tmp_path, split="tuning")).chooses


def test_two_names_for_one_run_are_refused(tmp_path):
    methods = PLAN["methods"] | {"again": {"set": {"complete.granularities": [1]}}}
    with pytest.raises(ValueError, match=r"same run \w+ for \(fine, seed 7\) and for \(again, seed 7\)"):
        Comparison.of(write_plan(tmp_path, methods=methods))


def test_presets_that_extend_each_other_are_refused(tmp_path):
    preset(tmp_path, "a.yaml", "", extends="b.yaml")
    preset(tmp_path, "b.yaml", "", extends="a.yaml")
    with pytest.raises(ValueError, match=r"extends in .*: files that end somewhere are required, got a circle at"):
        cells(write_plan(tmp_path, methods={"fine": {"params": "a.yaml"}}))


def test_a_plan_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"A plan is required, got .*, which does not exist. Correct --plan"):
        load_plan(tmp_path / "lost.yaml")
    (tmp_path / "list.yaml").write_text("[1]")
    with pytest.raises(ValueError, match="must hold keys and values, got list"):
        load_plan(tmp_path / "list.yaml")
