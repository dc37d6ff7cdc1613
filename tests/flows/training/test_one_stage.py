import pytest
from tiny import tables

from flows.training.one_stage import run_alone
from stages.store.lock import locked
from stages.store.retention import prune


def alone(again, name, number, *, shards=None, force=False):
    return run_alone(name, again.run.key, number, shards=shards, force=force)


def test_a_stage_that_is_done_is_told_as_done(again):
    before = tables(again.run.path)
    told = alone(again, "prompts", 1)
    assert told == "prompts of round 1 was done already: prompts 4 rows; 0 evaluations"
    assert tables(again.run.path) == before


def test_by_force_it_is_made_again_as_it_was_from_inputs_that_were_let_go(again):
    before = tables(again.run.path)
    completions = again.run.round_folder(1) / "completions/part-00001.parquet"
    rewards = again.run.round_folder(1) / "rewards/part-00001.parquet"
    completions.unlink()
    inode = rewards.stat().st_ino
    told = alone(again, "score", 1, force=True)
    assert told.startswith("score of round 1 done in ")
    assert ": rewards 48 rows; 0 evaluations" in told  # 4 prompts, 2 steps, 3 branches, 2 granularities
    assert rewards.stat().st_ino != inode
    assert tables(again.run.path) == before


def test_what_was_let_go_and_is_there_again_is_told_with_what_frees_it(again):
    params = again.with_params("retention.rounds=1", "evaluate.every=1")  # latents go, policies stay
    again.run.remember(params)
    freed = prune(again.run, params)
    told = alone(again, "score", 0, force=True)
    more = f"; {freed / 1e6:.1f} MB that retention had let go are there again, `g2rpo prune --run {again.run.key[:8]}`"
    assert told.endswith(f"{more} frees them")
    assert "let go" not in alone(again, "score", 0, force=True)  # it lies there already
    assert prune(again.run, params) == freed


def test_of_the_next_round_some_shards_may_be_made_at_first(again):
    alone(again, "prompts", 2)
    told = alone(again, "rollout", 2, shards=[1])
    assert told == "rollout of round 2: the requested shards are done, others are still missing."
    assert [path.name for path in (again.run.round_folder(2) / "anchors").iterdir()] == ["part-00001.parquet"]


def test_a_round_that_the_run_has_not_come_to_is_refused(again):
    with pytest.raises(
        ValueError, match=f"Run {again.run.key} has 2 finished rounds, got --round 3. Name an earlier one."
    ):
        alone(again, "prompts", 3)


def test_an_unknown_stage_is_refused_with_those_there_are(again):
    with pytest.raises(ValueError, match="A stage is one of prompts, rollout, .*, evaluate, got 'paint'"):
        alone(again, "paint", 0)


def test_a_run_that_another_process_holds_is_left_alone(again):
    with locked(again.run.path), pytest.raises(ValueError, match="must be free, it is held by process"):
        alone(again, "prompts", 0)
