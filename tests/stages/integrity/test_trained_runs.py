"""What is made again after damage, retention or a journey is what was trained, to the last bit.

Each kind of damage is tried alone in test_repair.py, and what is put back or refused, on rounds by hand.
"""

import pytest
from cases import HURT
from damage import bring_to_the_end, flip, linked_copy, numbers
from rounds import new_run
from tiny import tables, tiny_params

from stages.contract.declared_stages import STAGES
from stages.engine.execute import run_stage
from stages.engine.loaded_models import LoadedModels
from stages.integrity.repair import make_inputs
from stages.integrity.verify import verify
from stages.params.file import load_params, written
from stages.store.child_run import begin_child
from stages.store.retention import prune
from stages.store.run import Run
from stages.store.transfer import adopt

pytestmark = pytest.mark.long


def same(run, undamaged):
    return verify(run) == [] and tables(run.path) == tables(undamaged.path) and numbers(run) == numbers(undamaged)


def test_all_kinds_of_damage_at_once_are_mended(copied, undamaged):
    run, params, resources = copied
    for file in {file for hurt, file in HURT if hurt is flip}:
        flip(run.path / file)
    bring_to_the_end(run, params, resources)
    assert same(run, undamaged)


def test_damaged_weights_are_not_computed_with(copied):
    run, params, _ = copied
    flip(run.policy_folder(1) / "weights.safetensors")
    with pytest.raises(ValueError, match=r"weights.safetensors must be as it was written"):
        run_stage(run, STAGES["rollout"], 1, params, LoadedModels(params), force=True)


LATENTS = {"anchors", "transitions", "completions"}
KEPT = {"prompts", "diversity", "rewards", "advantages", "old_log_probs", "updates", "policy"}


def outputs(run, number):
    return {path.name for path in run.round_folder(number).iterdir() if path.is_dir()}


def test_more_rounds_of_a_pruned_run_are_those_of_one_that_kept_all(trained_once, store):
    start, _, resources = trained_once()
    whole = trained_once("run.rounds=4")[0]
    run = Run(linked_copy(start.path, store / "runs" / start.key))
    bring_to_the_end(run, tiny_params("run.rounds=4", "retention.rounds=1"), resources)
    assert [outputs(run, number) for number in (2, 3)] == [KEPT, KEPT | LATENTS]
    assert numbers(run) == numbers(whole)
    there = tables(run.path)
    shared = [name for name in there if not name.startswith("evaluations/") or "-tuning" in name]  # the best may differ
    assert [tables(whole.path)[name] for name in shared] == [there[name] for name in shared]


@pytest.mark.parametrize(("name", "number"), [("complete", 0), ("rollout", 1), ("update", 1)])
def test_a_stage_whose_tables_were_let_go_is_made_again_as_it_was(copied, undamaged, name, number):
    run, _, resources = copied
    params = tiny_params("run.rounds=3", "retention.rounds=1", "evaluate.every=99")
    prune(run, params)
    make_inputs(run, STAGES[name], number, params, resources)
    run_stage(run, STAGES[name], number, params, resources, force=True)
    there, before = tables(run.path), tables(undamaged.path)
    again = [f"rounds/{number:04d}/{output}/" for output in STAGES[name].outputs]
    assert all(name in there for name in before if name.startswith(tuple(again)))
    assert there == {name: content for name, content in before.items() if name in there}
    assert verify(run) == []


def test_a_run_that_comes_back_into_an_empty_store_goes_on(undamaged, trained_once, tmp_path):
    run = adopt(Run(linked_copy(undamaged.path, tmp_path / "outside")))
    bring_to_the_end(run, tiny_params("run.rounds=4", "retention.rounds=null"), trained_once()[2])
    assert numbers(run) == numbers(trained_once("run.rounds=4")[0])
    assert verify(run) == []


def test_a_child_goes_on_otherwise_is_whole_and_comes_out_the_same_from_its_parameters_alone(
    copied, undamaged, tmp_path, monkeypatch
):
    parent, params, _ = copied
    child = begin_child(parent, params, 1, reason="reward_hacking", device="cpu")
    bring_to_the_end(child, child.params(), new_run(child.params())[2])
    assert (child.num_finished, verify(child)) == (3, [])
    assert tables(parent.path) == tables(undamaged.path)
    weights = "policy/weights.safetensors"
    assert (child.round_folder(1) / weights).read_bytes() != (parent.round_folder(1) / weights).read_bytes()
    (tmp_path / "params.yaml").write_text(written(child.params()))
    monkeypatch.setenv("G2RPO_HOME", str(tmp_path / "alone"))
    again, *rest = new_run(load_params(tmp_path / "params.yaml"))
    bring_to_the_end(again, *rest)
    assert again.key == child.key
    assert tables(again.path) == tables(child.path)
