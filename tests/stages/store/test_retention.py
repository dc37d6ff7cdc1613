import shutil

import pytest
from damage import numbers
from tiny import tables, tiny_params

from stages.integrity.verify import verify
from stages.store.manifest import pruned_outputs, write_tombstone
from stages.store.retention import prune, rounds_kept

LATENTS = {"anchors", "transitions", "completions"}
KEPT = {"prompts", "diversity", "rewards", "advantages", "old_log_probs", "updates", "policy"}


def retained(rounds, *overrides):
    return tiny_params("run.rounds=3", f"retention.rounds={rounds}", "evaluate.every=2", *overrides)


def outputs(run, number):
    return {path.name for path in run.round_folder(number).iterdir() if path.is_dir()}


def has_weights(run, policy_round):
    return (run.policy_folder(policy_round) / "weights.safetensors").is_file()


def test_latents_of_the_last_rounds_stay_and_all_else_of_every_round(linked, whole):
    run = linked[0]
    prune(run, retained(1))
    assert [outputs(run, number) for number in range(3)] == [KEPT, KEPT, KEPT | LATENTS]
    assert numbers(run) == numbers(whole)
    assert verify(run) == []
    assert [pruned_outputs(run.round_folder(number)) for number in range(3)] == [{*LATENTS, "policy"}, LATENTS, set()]


def test_evaluated_policies_stay_and_the_last_one(linked):
    run = linked[0]
    prune(run, retained(1))  # evaluate.every=2
    assert [has_weights(run, policy_round) for policy_round in (1, 2, 3)] == [False, True, True]
    assert (run.policy_folder(1) / "state.json").is_file()


def test_what_is_freed_is_reported_and_freed_once(linked, whole):
    run = linked[0]
    freed = prune(run, retained(2))
    gone = {name for name in tables(whole.path) if not (run.path / name).exists()}
    assert {name.split("/")[1] for name in gone} == {"0000"}
    assert freed == sum((whole.path / name).stat().st_size for name in gone) > 10_000
    assert prune(run, retained(2)) == 0


def test_null_keeps_everything_and_staleness_a_round_more(linked, whole):
    run = linked[0]
    assert prune(run, retained("null")) == 0
    assert tables(run.path) == tables(whole.path)
    stale = retained(2).with_values({"placement.staleness": 1})
    assert [rounds_kept(params) for params in (retained("null"), retained(2), stale)] == [None, 2, 3]
    assert prune(run, stale) == 0


def test_a_stored_policy_is_not_pruned_before_the_next_round_has_begun_with_it(linked):
    run = linked[0]
    prune(run, retained(1, "evaluate.every=99"))
    assert [has_weights(run, policy_round) for policy_round in (1, 2, 3)] == [False, False, True]


def test_a_process_killed_between_tombstone_and_removal_has_lost_nothing(linked):
    run = linked[0]
    write_tombstone(run.round_folder(0), frozenset({*LATENTS, "policy"}))
    assert verify(run) == []
    shutil.rmtree(run.round_folder(0) / "anchors")  # and in the midst of it
    assert verify(run) == []
    assert prune(run, retained(2)) > 0
    assert outputs(run, 0) == KEPT
    assert verify(run) == []


def test_what_was_pruned_before_is_still_named_when_more_goes(linked):
    run = linked[0]
    prune(run, retained(2, "evaluate.every=99"))
    shutil.copytree(run.round_folder(1) / "anchors", run.round_folder(0) / "anchors")
    prune(run, retained(2, "evaluate.every=1"))
    assert pruned_outputs(run.round_folder(0)) == {*LATENTS, "policy"}


@pytest.mark.parametrize("table", sorted(LATENTS))
def test_a_table_that_is_missing_already_hinders_nothing(linked, table):
    run = linked[0]
    shutil.rmtree(run.round_folder(0) / table)
    assert prune(run, retained(2)) > 0
    assert outputs(run, 0) == KEPT


def test_of_a_policy_whose_state_is_gone_nothing_is_let_go(linked):
    run = linked[0]
    (run.policy_folder(1) / "state.json").unlink()
    prune(run, retained(1))
    assert (outputs(run, 0), has_weights(run, 1)) == (KEPT, True)
