import shutil

import pytest
from damage import bring_to_the_end, linked_copy, numbers
from tiny import tables, tiny_params

from stages.contract.declared_stages import STAGES
from stages.engine.execute import run_stage
from stages.integrity.repair import make_inputs
from stages.integrity.verify import verify
from stages.store.manifest import bury
from stages.store.retention import prune
from stages.store.run import Run

LATENTS = {"anchors", "transitions", "completions"}
KEPT = {"prompts", "diversity", "rewards", "advantages", "old_log_probs", "updates", "policy"}


def retained(rounds, *overrides):
    return tiny_params("run.rounds=3", f"retention.rounds={rounds}", "evaluate.every=2", *overrides)


def outputs(run, number):
    return {path.name for path in run.round_folder(number).iterdir() if path.is_dir()}


def has_weights(run, policy_round):
    return (run.policy_folder(policy_round) / "weights.safetensors").is_file()


def test_latents_of_the_last_rounds_stay_and_all_else_of_every_round(copied, undamaged):
    run = copied[0]
    prune(run, retained(1))
    assert [outputs(run, number) for number in range(3)] == [KEPT, KEPT, KEPT | LATENTS]
    assert numbers(run) == numbers(undamaged)
    assert verify(run) == []


def test_policies_that_are_judged_stay_and_the_last_one(copied):
    run = copied[0]
    prune(run, retained(1))  # evaluate.every=2
    assert [has_weights(run, policy_round) for policy_round in (1, 2, 3)] == [False, True, True]


def test_what_is_freed_is_told_and_freed_once(copied, undamaged):
    run = copied[0]
    freed = prune(run, retained(2))
    gone = {name for name in tables(undamaged.path) if not (run.path / name).exists()}
    assert freed == sum((undamaged.path / name).stat().st_size for name in gone) > 12e6  # weights and moments
    assert prune(run, retained(2)) == 0


def test_null_keeps_everything(copied, undamaged):
    run = copied[0]
    assert prune(run, retained("null")) == 0
    assert tables(run.path) == tables(undamaged.path)


def test_a_stored_policy_is_not_let_go_before_the_next_round_has_begun_with_it(copied):
    run = copied[0]
    prune(run, retained(1, "evaluate.every=99"))
    assert has_weights(run, 3)


def test_a_process_killed_between_tombstone_and_removal_has_lost_nothing(copied, undamaged):
    run = copied[0]
    bury(run.round_folder(0), frozenset({*LATENTS, "policy"}))
    assert verify(run) == []
    shutil.rmtree(run.round_folder(0) / "anchors")  # and in the midst of it
    assert verify(run) == []
    assert prune(run, retained(2)) > 0
    assert outputs(run, 0) == KEPT
    assert verify(run) == []


def test_more_rounds_of_a_pruned_run_are_those_of_one_that_kept_all(trained_once, store):
    start, _, resources = trained_once()
    whole = trained_once("run.rounds=5")[0]
    run = Run(linked_copy(start.path, store / "runs" / start.key))
    bring_to_the_end(run, tiny_params("run.rounds=5", "retention.rounds=1"), resources)
    assert [outputs(run, number) for number in (3, 4)] == [KEPT, KEPT | LATENTS]
    assert numbers(run) == numbers(whole)
    there = tables(run.path)
    shared = [name for name in there if not name.startswith("evaluations/") or "-tuning" in name]  # the best may differ
    assert [tables(whole.path)[name] for name in shared] == [there[name] for name in shared]


@pytest.mark.parametrize(("name", "number"), [("complete", 0), ("rollout", 1), ("update", 1)])
def test_a_stage_whose_tables_were_let_go_is_made_again_as_it_was(copied, undamaged, name, number):
    run, _, resources = copied
    params = retained(1, "evaluate.every=99")
    prune(run, params)
    make_inputs(run, STAGES[name], number, params, resources)
    run_stage(run, STAGES[name], number, params, resources, force=True)
    there, before = tables(run.path), tables(undamaged.path)
    again = [f"rounds/{number:04d}/{output}/" for output in STAGES[name].outputs]
    assert all(name in there for name in before if name.startswith(tuple(again)))
    assert there == {name: content for name, content in before.items() if name in there}
    assert verify(run) == []
