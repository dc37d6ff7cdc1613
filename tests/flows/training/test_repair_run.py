import pytest
from damage import flip, lose
from tiny import tables

from flows.training.repair_run import plan_lines, repaired
from stages.contract.declared_stages import STAGES
from stages.integrity.damage import num_marked
from stages.integrity.former import keep_former
from stages.integrity.resume import resume
from stages.integrity.verify import verify
from stages.store.lock import locked
from stages.store.retention import prune
from stages.store.transfer import link_out


def test_a_run_that_is_whole_is_left_alone(again, made):
    assert repaired(again.run.key[:6]) == f"run {again.run.key} is whole, nothing was made again"
    assert tables(again.run.path) == tables(made.run.path)


def test_what_is_damaged_is_told_before_and_made_again(again, made, capsys):
    folder = again.run.round_folder(0)
    for path in (folder / "advantages/part-00000.parquet", folder / "rewards/part-00001.parquet"):
        flip(path)
    lose(again.run.metrics_path(1))
    resume(again.run, again.params, again.executor, say=lambda line: None)  # as by a start before
    assert num_marked(again.run) == 2
    told = f"run {again.run.key} is whole again: 2 damaged files or manifests were made again"
    assert repaired(again.run.key) == told
    assert capsys.readouterr().err.splitlines() == [
        "to make again: score of rounds 0",
        "to make again: integrate of rounds 0",
        "what these read is made again too, where retention has let it go",
    ]
    assert (verify(again.run), num_marked(again.run)) == ([], 0)
    assert tables(again.run.path) == tables(made.run.path)


def test_what_a_killed_repair_has_left_is_put_back_first(again, made):
    keep_former(again.run, STAGES["score"], 0)
    lose(again.run.round_folder(0) / "score.json")
    assert repaired(again.run.key) == f"run {again.run.key} is whole, nothing was made again"
    assert tables(again.run.path) == tables(made.run.path)


def test_each_stage_is_told_with_its_rounds_and_metrics_apart(again):
    run = again.run
    for path in (
        run.policy_folder(1) / "weights.safetensors",
        run.policy_folder(2) / "optimizer.safetensors",
        run.evaluation_folder(2, "tuning") / "evaluations/part-00000.parquet",
        run.metrics_path(0),
    ):
        lose(path)
    assert plan_lines(run, verify(run))[:-1] == [
        "to make again: update of rounds 0, 1",
        "to make again: evaluate of policies after rounds 2",
        "to count again: metrics of rounds 0",
    ]


def test_what_had_to_be_made_again_for_the_rest_is_let_go_again(again):
    run, params = again.run, again.with_params("retention.rounds=1")
    run.remember(params)
    prune(run, params)
    before = tables(run.path)
    flip(run.round_folder(0) / "rewards/part-00000.parquet")  # it comes of completions, these of transitions
    assert repaired(run.key).endswith("1 damaged files or manifests were made again")
    assert tables(run.path) == before
    assert not (run.round_folder(0) / "completions").exists()


def test_a_run_that_is_held_is_refused(again):
    flip(again.run.metrics_path(0))
    with locked(again.run.path), pytest.raises(ValueError, match="must be free, it is held by process"):
        repaired(again.run.key)


def test_a_copy_outside_the_store_is_refused_with_what_mends_it(again, tmp_path):
    link_out(again.run, tmp_path / "copy", 2)
    with pytest.raises(ValueError, match="A run of the store is required, got a copy in .*`g2rpo repair --run KEY`"):
        repaired(str(tmp_path / "copy"))


def test_a_run_whose_own_files_are_damaged_is_sent_to_the_command_that_made_it(again):
    lose(again.run.path / "params.yaml")
    with pytest.raises(ValueError, match="Run `g2rpo train --params FILE` with the run's parameters"):
        repaired(again.run.key)
