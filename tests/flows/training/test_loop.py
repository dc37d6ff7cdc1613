import pytest
from histories import run_by_hand
from tiny import tables, tiny_params

from flows.common.endings import StopRequestedError
from flows.guards.finding import TrippedError
from flows.training.loop import call_plainly
from stages.contract.declared_stages import ROUND_STAGES
from stages.engine.execute import StageResult
from stages.readings.best_round import best_round
from stages.readings.metrics import round_metrics
from stages.store.retention import prune

NAMES = [stage.name for stage in ROUND_STAGES]
OVER = "guards.time.hours=1e-9"


def test_a_plain_call_does_the_work_and_returns_what_it_returned():
    done = StageResult("score", {}, skipped=True)
    assert call_plainly("score", 7, lambda: done) is done


def test_stages_are_called_round_by_round_and_policies_judged_when_they_are_due(made):
    """Two rounds of which every second is judged: the base, the last, and both on the captions of the report."""
    finally_judged = sorted({0, best_round(made.run, made.params), 2})
    assert [(name, number) for name, number, _ in made.calls] == [
        ("evaluate", 0),
        *[(name, 0) for name in NAMES],
        *[(name, 1) for name in NAMES],
        ("evaluate", 2),
        *[("evaluate", number) for number in finally_judged],
    ]
    assert not any(skipped for *_, skipped in made.calls)


def test_observers_hear_each_stage_before_and_each_round_and_judging_after_it(made):
    finally_judged = sorted({0, best_round(made.run, made.params), 2})
    judged = [[("evaluate", n), ("evaluated", n, "test")] for n in finally_judged]
    assert made.told == [
        *[("evaluate", 0), ("evaluated", 0, "tuning")],
        *[(name, 0) for name in NAMES],
        ("round", 0, 1.0),
        *[(name, 1) for name in NAMES],
        ("round", 1, 2.0),
        *[("evaluate", 2), ("evaluated", 2, "tuning")],
        *[heard for pair in judged for heard in pair],
    ]


def test_a_finished_round_has_its_metrics_and_is_counted(made):
    assert made.run.num_finished == 2
    assert made.run.metrics() == [round_metrics(made.run, 0), round_metrics(made.run, 1)]


def test_a_finished_run_that_goes_on_makes_nothing(again):
    before = tables(again.run.path)
    again.loop().train()
    assert again.calls == [("evaluate", 0, True), ("evaluate", 2, True)]
    assert tables(again.run.path) == before


def test_a_request_to_stop_is_obeyed_before_the_next_stage_and_the_run_goes_on_there(again):
    further = again.with_params("run.rounds=3")

    def stopping(name, number, work):
        if (name, number) == ("rollout", 2):
            (again.run.path / "stop").touch()
        return again.call(name, number, work)

    with pytest.raises(StopRequestedError):
        again.loop(further, call=stopping).train()
    assert again.calls[-2:] == [("prompts", 2, False), ("rollout", 2, False)]
    assert again.run.num_finished == 2
    again.calls.clear()
    again.loop(further).train()
    this_round = [("prompts", 2, True), ("rollout", 2, True), *[(name, 2, False) for name in NAMES[2:]]]
    judged = [("evaluate", 0, True), ("evaluate", 2, True)]
    assert again.calls == [*judged, *this_round, ("evaluate", 3, False)]
    assert again.run.num_finished == 3


def test_what_retention_lets_go_is_gone_after_the_round(again):
    again.loop(again.with_params("retention.rounds=1")).train()
    assert not (again.run.round_folder(0) / "anchors").exists()
    assert (again.run.round_folder(1) / "anchors").exists()


def test_a_policy_that_was_let_go_before_it_was_due_is_passed_over(again):
    prune(again.run, again.with_params("retention.rounds=1", "evaluate.every=9"))
    again.loop(again.with_params("evaluate.every=1")).train()
    assert again.calls == [("evaluate", 0, True), ("evaluate", 2, True)]


def test_for_fewer_rounds_than_before_the_last_policy_is_made_again_and_judged(again):
    prune(again.run, again.with_params("retention.rounds=1", "evaluate.every=9"))
    before = again.run.policy_folder(1)
    again.loop(again.with_params("run.rounds=1")).train()
    assert again.calls == [("evaluate", 0, True), ("evaluate", 1, False)]
    assert (before / "weights.safetensors").is_file()


def test_a_guard_that_stops_ends_the_rounds_and_all_are_told(again):
    with pytest.raises(TrippedError, match=r"^guard time, after round 2 \(stop\): The rounds have taken"):
        again.loop(again.with_params(OVER, "run.rounds=3")).train()
    assert again.told[-1] == ("guarded", "time", "stop")
    assert ("prompts", 2) not in again.told


def test_a_guard_that_warns_is_told_and_the_run_goes_on(again):
    again.loop(again.with_params(OVER, "guards.time.action=warn")).train()
    assert again.told[-1] == ("guarded", "time", "warn")


def overflowing(stage):
    """Stage calls that judge and make nothing else; in this stage a number is not finite."""

    def call(name, number, work):
        if name == stage:
            raise FloatingPointError(f"The numbers of {name} are nan.")
        return work() if name == "evaluate" else StageResult(name, {}, skipped=True)

    return call


def test_a_stage_that_cannot_go_on_for_a_number_trips_the_guard_of_finite_numbers(again):
    with pytest.raises(TrippedError, match="The numbers of update are nan. If the policy has diverged"):
        again.loop(again.with_params("run.rounds=3"), call=overflowing("update")).train()
    assert again.told[-1] == ("guarded", "non_finite", "stop")


@pytest.mark.parametrize("action", ["ignore", "warn"])
def test_where_that_guard_may_not_stop_it_is_an_error(again, action):
    with pytest.raises(FloatingPointError):
        again.loop(
            again.with_params("run.rounds=3", f"guards.non_finite.action={action}"), call=overflowing("update")
        ).train()


@pytest.mark.usefixtures("own_store")
def test_a_number_that_is_not_finite_before_any_round_is_not_the_trainings(made):
    fresh = type(made)(*run_by_hand(params=tiny_params("run.seed=3")), made.executor)
    with pytest.raises(FloatingPointError):
        fresh.loop(call=overflowing("evaluate")).train()
    assert fresh.told == [("evaluate", 0)]
