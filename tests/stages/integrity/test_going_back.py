"""Damaged policies at the end of a run, of fewer rounds than before, and of rounds that nothing needs."""

import pytest
from cases import an_evaluation_of_another_policy
from damage import flip, go_on, lose
from resuming import MORE, SELDOM, damaged, resumed, same
from stages_by_hand import StagesByHand
from tiny import tables, tiny_params

from stages.integrity.repair import repair
from stages.integrity.verify import verify
from stages.readings.best_round import best_round, evaluated_rounds
from stages.store.retention import prune

pytestmark = pytest.mark.long


def test_a_policy_that_comes_out_otherwise_is_one_that_the_run_goes_on_from(linked):
    run, _, _ = linked
    flip(run.policy_folder(3) / "weights.safetensors")
    executor = StagesByHand(off=1e-3)
    said = go_on(run, MORE, executor)
    assert said[2] == "the result differs from the lost one, e.g. because of another machine"
    assert said[3].startswith("the run goes back from round 3 to round 2")
    assert executor.done[:3] == [("update", 2), ("update", 2), ("evaluate", 3)]
    assert (run.num_finished, verify(run)) == (4, [])


def test_over_more_than_a_round_the_run_does_not_go_back_but_names_repair(linked, whole):
    run, _, executor = linked
    pruned = tiny_params("run.rounds=4", "retention.rounds=1", "evaluate.every=2")
    prune(run, pruned)  # but for the latents of the last round, and its policy and the second
    for file in ("0002/policy/weights.safetensors", "0002/anchors/part-00000.parquet"):
        flip(run.path / "rounds" / file)
    lose(run.policy_folder(2) / "optimizer.safetensors")
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.name != "params.yaml" and path.is_file()}
    required = (
        r"A whole policy after 2 rounds is required, got .*`g2rpo repair --run \w{8}` rebuilds it from the policy "
    )
    with pytest.raises(ValueError, match=required + "after 0 rounds.*`dvc checkout`"):
        resumed(run, pruned, executor)
    assert before == {path: path.read_bytes() for path in before}
    assert (executor.done, run.num_finished) == ([], 3)
    repair(run, verify(run), pruned, executor)
    assert verify(run) == []
    there = tables(run.path)
    assert there == {name: content for name, content in tables(whole.path).items() if name in there}
    assert resumed(run, pruned, executor) == []


@pytest.mark.parametrize("file", ["policy/weights.safetensors", "policy/state.json"])
def test_a_run_that_has_all_its_rounds_does_not_go_back(linked, whole, file):
    """Its last policy is only marked; if an evaluation still needs it, `g2rpo repair` is named."""
    run, params, executor = linked
    for damaged_file in (file, "anchors/part-00000.parquet", "advantages/part-00000.parquet"):
        flip(run.round_folder(2) / damaged_file)
    if file == "policy/weights.safetensors":
        assert resumed(run, params, executor)[-1].startswith("3 damaged files of earlier rounds")
    lose(run.evaluation_folder(3, "test") / "evaluate.json")
    with pytest.raises(ValueError, match="A whole policy after 3 rounds is required, got .*`g2rpo repair --run"):
        resumed(run, params, executor)
    assert (executor.done, run.num_finished) == ([], 3)
    repair(run, verify(run), params, executor)
    go_on(run, params, executor)
    assert same(run, whole)


@pytest.mark.parametrize("input_too", [False, True])
def test_the_last_policy_of_fewer_rounds_than_before_is_made_again_or_repair_is_named(linked, whole, input_too):
    run, _, executor = linked
    fewer = tiny_params("run.rounds=2", "retention.rounds=null")
    flip(run.policy_folder(2) / "weights.safetensors")
    if input_too:
        flip(run.round_folder(1) / "advantages/part-00000.parquet")
        with pytest.raises(ValueError, match="A whole policy after 2 rounds is required, got .*`g2rpo repair --run"):
            go_on(run, fewer, executor)
        assert (executor.done, (run.round_folder(1) / "update.json").is_file()) == ([], True)
        repair(run, verify(run), fewer, executor)
    go_on(run, fewer, executor)
    assert run.num_finished == 3
    assert verify(run) == []
    assert tables(whole.path).items() <= tables(run.path).items()


def test_the_pruned_last_policy_of_fewer_rounds_is_made_again_by_the_loop(linked):
    run, _, executor = linked
    prune(run, tiny_params("retention.rounds=1", "evaluate.every=99"))
    go_on(run, tiny_params("run.rounds=2", "evaluate.every=99"), executor)
    assert (executor.done[-1], run.num_finished) == (("evaluate", 2), 3)


def test_the_state_of_a_policy_without_manifest_is_set_aside_too(linked, whole):
    run, params, executor = linked
    for file in ("update.json", "policy/state.json"):
        flip(run.round_folder(0) / file)
    go_on(run, params, executor)
    pruned = tiny_params("run.rounds=3", "retention.rounds=1", "evaluate.every=3")
    assert not (run.policy_folder(1) / "state.json").exists()
    prune(run, pruned)
    repair(run, verify(run), params, executor)
    assert verify(run) == []


def test_the_best_round_is_another_while_its_policy_is_damaged(linked):
    run, params, executor = linked
    more = tiny_params("run.rounds=4", "retention.rounds=null")
    go_on(run, more, executor)
    assert best_round(run, more) == 4
    by = more.model_copy(update={"run": params.run})  # of three rounds: nothing needs a policy after two
    flip(run.policy_folder(2) / "weights.safetensors")
    said = resumed(run, by, StagesByHand())
    assert said[-1].startswith("1 damaged file of earlier rounds")
    assert best_round(run, by) == 3


@pytest.mark.parametrize("hurt", ["flip", "forge"])
def test_tables_that_no_manifest_vouches_for_are_not_read(linked, whole, made_once, hurt):
    run, params, executor = linked
    if hurt == "flip":
        flip(run.path / "evaluations/0001-tuning/evaluate.json")
    else:
        an_evaluation_of_another_policy(run, made_once)
    seldom = tiny_params(*SELDOM)
    go_on(run, seldom, executor)
    assert executor.done == []
    assert evaluated_rounds(run, seldom) == [0, 2, 3]
    assert "evaluations/0001-tuning/evaluate.json" in damaged(run)
    repair(run, verify(run), params, executor)
    assert same(run, whole)
