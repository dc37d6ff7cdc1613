import numpy as np
import pytest
from histories import finish, judge, run_by_hand
from tiny import tiny_params

from flows.guards.finding import Finding
from flows.guards.watch import GUARDS, Guards
from stages.disk.files import write_sealed

FAR = {"update/kl": 1.0}
CLIPPED = {"update/clip_frac": 1.0}
NOT_FINITE = {"update/loss": float("nan")}

pytestmark = pytest.mark.usefixtures("own_store")


def found(run, params, **how):
    return [(finding.guard, finding.action) for finding in Guards(run, params, **how).look()]


def rolling_back(most):
    return tiny_params("guards.kl.action=rollback", "guards.kl.most=0.1", f"guards.max_rollbacks={most}")


def child_of(run, generation):
    """The run as if it had gone on from another, so many rollbacks after the first."""
    write_sealed(
        run.path / "run.json",
        run.about | {"parent": {"key": "0" * 16, "round": 1, "reason": "kl", "generation": generation}},
    )
    return run


def test_each_guard_has_its_settings():
    assert set(GUARDS) == set(tiny_params().guards.model_dump()) - {"max_rollbacks"}


def test_a_calm_run_trips_none():
    assert found(*run_by_hand({}, {}, {})) == []


def test_a_finding_tells_the_guard_the_rounds_that_were_done_and_what_is_to_follow():
    run, params = run_by_hand({}, FAR, params=tiny_params("guards.kl.most=0.2"))
    (finding,) = Guards(run, params).look()
    assert (finding.guard, finding.policy_round, finding.action) == ("kl", 2, "warn")
    assert finding.message.startswith("The KL to the base is 1 nats per latent element, more than 0.2")


def test_the_gravest_is_told_first_and_what_is_ignored_not_at_all():
    run, params = run_by_hand({**FAR, **CLIPPED, **NOT_FINITE}, params=tiny_params("guards.clip_frac.action=rollback"))
    assert found(run, params) == [("non_finite", "stop"), ("clip_frac", "rollback"), ("kl", "warn")]
    without = tiny_params("guards.clip_frac.action=ignore", "guards.non_finite.action=ignore")
    assert found(run, without) == [("kl", "warn")]


def test_a_guard_that_stays_tripped_is_told_once_and_again_after_it_was_calm():
    run, params = run_by_hand(FAR)
    guards = Guards(run, params)
    told = [[finding.guard for finding in guards.look()]]
    for metrics in (FAR, {}, FAR):
        finish(run, metrics)
        told.append([finding.guard for finding in guards.look()])
    assert told == [["kl"], [], [], ["kl"]]


def test_without_obedience_stop_and_rollback_only_warn():
    run, params = run_by_hand({**FAR, **NOT_FINITE}, params=rolling_back(3))
    assert sorted(found(run, params)) == [("kl", "rollback"), ("non_finite", "stop")]
    assert sorted(found(run, params, obey=False)) == [("kl", "warn"), ("non_finite", "warn")]


@pytest.mark.parametrize(("generation", "action"), [(1, "rollback"), (2, "stop")])
def test_after_enough_rollbacks_the_next_is_a_stop_that_says_so(generation, action):
    run, params = run_by_hand(FAR, params=rolling_back(2))
    (finding,) = Guards(child_of(run, generation), params).look()
    assert finding.action == action
    assert ("guards.max_rollbacks is reached: 2." in finding.message) == (action == "stop")


def test_no_rollback_is_allowed_where_the_most_is_none():
    run, params = run_by_hand(FAR, params=rolling_back(0))
    assert found(run, params) == [("kl", "stop")]


def test_a_number_that_ended_a_stage_is_a_finding_of_non_finite():
    run, params = run_by_hand({})
    finding = Guards(run, params).of_error(FloatingPointError("The loss is nan."))
    assert (finding.guard, finding.policy_round, finding.action) == ("non_finite", 1, "stop")
    assert finding.message.startswith("The loss is nan. If the policy has diverged, lower update.learning")
    assert isinstance(finding, Finding)


def test_held_out_scores_of_the_run_are_looked_at_as_they_come():
    """A trained reward falls by 2 on half of 32 prompts: 5.6 standard errors, over the 4 that are allowed."""
    run, params = run_by_hand({"reward/judge_a/mean": 0.5})
    base = np.linspace(0.0, 1.0, 32)
    guards = Guards(run, params)
    judge(run, params, 0, judge_a=base)
    assert guards.look() == []
    judge(run, params, 1, judge_a=base - np.tile([2.0, 0.0], 16))
    (finding,) = guards.look()
    assert finding.guard == "reward_collapse"
    assert "is 5.6 standard errors below the base" in finding.message
