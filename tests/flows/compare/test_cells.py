"""The runs of a plan: what they are, and what is refused before any is started."""

from dataclasses import replace

import pytest
from comparisons import PLAN, write_plan
from tiny import ROOT, tiny_params

from flows.compare.cells import Cell, cells_of, final_params, require_distinct
from flows.compare.plan import load_plan


def cells(path):
    return cells_of(load_plan(path), path.parent)


def preset(folder, name, text, extends=ROOT / "params.yaml"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"extends: {extends}\n{text}" if extends else text)


@pytest.fixture(scope="module")
def params():
    return tiny_params()


def test_a_run_is_named_by_method_variant_point_and_seed(params):
    cell = Cell("mix_grpo", "two rewards", {"rollout.eta": 0.7}, 101, params)
    assert cell.name == "mix_grpo, two rewards, rollout.eta=0.7, seed 101"
    assert cell.slug == "mix_grpo-two-rewards-rollout-eta-0-7-s101"
    plain = replace(cell, variant="", point={})
    assert (plain.name, plain.slug) == ("mix_grpo, seed 101", "mix_grpo-s101")


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
        ({"budget": 91}, r"In the plan, fine: .*costs 92 transformer evaluations, got 91"),
        ({"metric": "beauty"}, "metric: one of evaluate.rewards is required, which are judge_a, .*; got beauty"),
        ({"methods": {"fine": {"params": "lost.yaml"}}}, r"methods.fine.params: .*lost.yaml, which does not exist"),
        ({"params": "lost.yaml"}, "lost.yaml, which does not exist"),
        (
            {"methods": {"fine": {"set": {"prompts.num_prompts": 9999}}}, "budget": 10**6},
            "In the plan, fine: prompts.num_prompts: at most the 437 texts",
        ),
    ],
)
def test_faults_of_the_parameters_are_told_with_the_run_that_has_them(tmp_path, changes, said):
    with pytest.raises(ValueError, match=said):
        cells(write_plan(tmp_path, **changes))


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [("evaluate.num_steps", [2], "the curves"), ("report.num_noises", 2, "the final figures")],
)
def test_runs_that_are_not_judged_alike_are_refused(tmp_path, key, value, part):
    methods = PLAN["methods"] | {"third": {"set": {key: value, "rollout.eta": 0.5}}}
    with pytest.raises(
        ValueError, match=f"evaluated alike are required for {part}, got .* for .fine, seed 7.; .*third"
    ):
        cells(write_plan(tmp_path, methods=methods))


def test_the_final_figures_are_judged_as_the_report_or_as_the_curves(params):
    found = final_params(tiny_params("report.num_noises=3"), "test").evaluate
    assert (found.split, found.num_noises) == ("test", 3)
    assert final_params(params, "tuning") == params
    with pytest.raises(ValueError, match=r"required, which are test and tuning; got train. Change it in the plan"):
        final_params(params, "train")


def test_presets_that_extend_each_other_are_refused(tmp_path):
    preset(tmp_path, "a.yaml", "", extends="b.yaml")
    preset(tmp_path, "b.yaml", "", extends="a.yaml")
    with pytest.raises(ValueError, match=r"extends in .*: files that form no circle are required, got one at"):
        cells(write_plan(tmp_path, methods={"fine": {"params": "a.yaml"}}))


def test_a_preset_must_hold_sections(tmp_path):
    preset(tmp_path, "flat.yaml", "eta: 0.5")
    with pytest.raises(ValueError, match=r"flat.yaml must hold sections of parameters, got 'eta' with a single value"):
        cells(write_plan(tmp_path, methods={"fine": {"params": "flat.yaml"}}))


def test_a_preset_must_hold_keys_that_say_one_override(tmp_path):
    preset(tmp_path, "odd.yaml", 'rollout: {"eta=0.3 #": 0.7}')
    with pytest.raises(ValueError, match=r"odd.yaml: keys of the form section.key are .*, got 'rollout.eta=0.3 #'. Ex"):
        cells(write_plan(tmp_path, methods={"fine": {"params": "odd.yaml"}}))


def test_two_cells_that_are_one_run_are_refused(params):
    two = [Cell(method, "", {}, 7, params) for method in ("fine", "again")]
    require_distinct(two, ["3fa9", "9b21"])
    with pytest.raises(
        ValueError, match=r"same run 3fa9 for \(fine, seed 7\) and for \(again, seed 7\): there is noth"
    ):
        require_distinct(two, ["3fa9", "3fa9"])
