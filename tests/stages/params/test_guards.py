import pytest
from refusals import refusal, shipped

GUARDS = [name for name in type(shipped().guards).model_fields if name != "max_rollbacks"]


@pytest.mark.parametrize("guard", GUARDS)
def test_every_guard_may_be_ignored_warn_or_stop(guard):
    for action in ("ignore", "warn", "stop"):
        assert getattr(shipped(f"guards.{guard}.action={action}").guards, guard).action == action
    assert f"guards.{guard}.action: input should be 'ignore', 'warn'" in refusal(f"guards.{guard}.action=panic")


@pytest.mark.parametrize("guard", GUARDS)
def test_what_the_course_of_a_run_trips_may_roll_it_back_but_disk_and_time_may_not(guard):
    override = f"guards.{guard}.action=rollback"
    if guard in ("disk", "time"):
        assert f"guards.{guard}.action: input should be 'ignore', 'warn' or 'stop', got 'rollback'" in refusal(override)
    else:
        assert getattr(shipped(override).guards, guard).action == "rollback"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("guards.max_rollbacks=-1", "guards.max_rollbacks: input should be greater than or equal to 0, got -1"),
        ("guards.exploding.times=1", "guards.exploding.times: input should be greater than 1, got 1"),
        ("guards.ratio.gap=0", "guards.ratio.gap: input should be greater than 0, got 0"),
        ("guards.zero_spread.frac=1.5", "guards.zero_spread.frac: input should be less than or equal to 1, got 1.5"),
        ("guards.zero_spread.rounds=0", "guards.zero_spread.rounds: input should be greater than or equal to 1"),
        ("guards.kl.most=.inf", "guards.kl.most: input should be a finite number, got inf"),
        ("guards.clip_frac.most=0", "guards.clip_frac.most: input should be greater than 0, got 0"),
        ("guards.disk.free_gb=0", "guards.disk.free_gb: input should be greater than 0, got 0"),
        ("guards.time.hours=0", "guards.time.hours: input should be greater than 0, got 0"),
    ],
)
def test_bad_values_are_refused(override, message):
    assert message in refusal(override)
