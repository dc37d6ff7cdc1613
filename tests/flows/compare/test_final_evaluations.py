"""What of a plan's runs is judged: by an executor that writes scores and paints nothing, into a real store."""

import fcntl

import pytest
from damage import flip
from tracking import values_of
from whole_runs import ByHand, begin, cells_in, gain, train

from flows.compare.final_evaluations import evaluate_base, evaluate_last, take_base
from flows.compare.stored import Placed, is_evaluated, measured
from flows.training.session import Session
from stages.contract.declared_stages import EVALUATE
from stages.engine.execute import run_stage


@pytest.fixture
def fine_and_coarse(tmp_path):
    _, cells = cells_in(tmp_path, seeds=[7])
    return [Placed.of(cell, "test", device="cpu") for cell in cells]


def session_of(placed):
    return Session(placed.cell.params, ByHand(gain(placed.cell)), placed.run)


def judged_base(placed):
    return placed.run.evaluation_folder(0, "tuning")


@pytest.fixture
def first(fine_and_coarse):
    """The first run, whose base has been judged on the captions of the curves."""
    placed = fine_and_coarse[0]
    run_stage(begin(placed), EVALUATE, 0, placed.cell.params, ByHand())
    return placed


def inodes(folder):
    return {path.relative_to(folder): path.stat().st_ino for path in folder.rglob("*") if path.is_file()}


def test_the_bases_evaluation_is_taken_over_from_another_run(fine_and_coarse, first, tmp_path):
    _, coarse = fine_and_coarse
    begin(coarse)
    take_base(session_of(coarse), [tmp_path / "not there", coarse.run.path, first.run.path])
    assert is_evaluated(judged_base(coarse))
    assert inodes(judged_base(coarse)) == inodes(judged_base(first))  # the very files, under another name
    assert len(inodes(judged_base(coarse))) == 3


@pytest.mark.parametrize("key", ["evaluate.num_steps=[2]", "evaluate.num_prompts=3"])
def test_an_evaluation_of_another_kind_is_not_taken_over(first, tmp_path, key):
    name, value = key.split("=")
    sets = {"complete.granularities": [2], name: [2] if "[" in value else 3}
    _, cells = cells_in(tmp_path, seeds=[7], methods={"coarse": {"set": sets}}, reference="coarse")
    other = Placed.of(cells[0], "test", device="cpu")
    begin(other)
    take_base(session_of(other), [first.run.path])
    assert not judged_base(other).exists()


def test_a_damaged_evaluation_is_not_taken_over_and_a_whole_one_not_replaced(fine_and_coarse, first):
    _, coarse = fine_and_coarse
    begin(coarse)
    run_stage(coarse.run, EVALUATE, 0, coarse.cell.params, ByHand())
    before = inodes(judged_base(coarse))
    take_base(session_of(coarse), [first.run.path])
    assert inodes(judged_base(coarse)) == before
    flip(judged_base(coarse) / "evaluations/part-00000.parquet")
    flip(judged_base(first) / "evaluations/part-00000.parquet")
    take_base(session_of(coarse), [first.run.path])
    assert not is_evaluated(judged_base(coarse))


def test_the_last_policy_is_judged_on_the_final_captions_and_shown_in_mlflow(fine_and_coarse, store):
    coarse = fine_and_coarse[1]
    train(coarse)
    session = session_of(coarse)
    evaluate_last(session, "test")
    assert coarse.run.evaluations() == [(2, "test")]
    (job,) = session.executor.jobs
    assert (job.round_number, job.params.evaluate.split) == (2, "test")
    assert job.inputs == {"policy": coarse.run.policy_folder(2)}
    assert session.executor.closed == 1
    assert values_of(store)["held_out/test/rule_soft"] == {2: pytest.approx(0.55)}
    evaluate_last(session, "test")
    assert len(session.executor.jobs) == 1


def test_the_base_is_judged_once_for_all_runs_that_share_it(fine_and_coarse):
    fine, coarse = fine_and_coarse
    sessions = [session_of(placed) for placed in fine_and_coarse]
    for placed, session in zip(fine_and_coarse, sessions, strict=True):
        begin(placed)
        evaluate_base(session, "test")
    assert [len(session.executor.jobs) for session in sessions] == [1, 0]
    assert sessions[0].executor.closed == 1
    assert sessions[0].executor.jobs[0].inputs == {"policy": fine.run.policy_folder(0)}
    assert is_evaluated(coarse.base)
    flip(coarse.base / "evaluations/part-00000.parquet")
    evaluate_base(sessions[1], "test")
    assert is_evaluated(coarse.base)


def test_nobody_else_judges_the_base_meanwhile(fine_and_coarse):
    placed = fine_and_coarse[0]
    begin(placed)
    refused = []

    class Looking(ByHand):
        def do(self, stage, job):
            with (placed.base.with_name(f".{placed.base.name}.lock")).open("a") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    refused.append(job)
            return super().do(stage, job)

    evaluate_base(Session(placed.cell.params, Looking(), placed.run), "test")
    assert len(refused) == 1
    with (placed.base.with_name(f".{placed.base.name}.lock")).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # free again
    assert measured(placed) is None  # for the run itself has still to be trained
