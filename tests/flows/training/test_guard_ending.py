import pytest
from histories import judge, run_by_hand

from flows.common.endings import GuardStopError
from flows.guards.finding import Finding
from flows.training.guard_ending import ended

HIGH, LOW = [0.8, 0.6], [0.4, 0.2]
REPORTED = {"judge_a": LOW, "rule_soft": LOW}


def found(guard, policy_round=3):
    return Finding(guard, policy_round, f"What {guard} tells.", "stop")


@pytest.fixture
def judged(own_store):
    """A run of three rounds that was best after two, and of those below two after one; its key's first digits."""
    run, params = run_by_hand({}, {}, {})
    for number, scores in enumerate(([0.1, 0.3], LOW, HIGH, [0.5, 0.7])):
        judge(run, params, number, rule_soft=scores)
    (own_store / "exports" / f"{run.key[:8]}-r0002").mkdir(parents=True)  # as the same command, given before, left it
    return run, params


def test_an_end_tells_what_was_found_what_was_kept_and_how_to_go_on(judged, own_store):
    run, params = judged
    end = ended(run, params, found("kl", 2))
    out = own_store / "exports" / f"{run.key[:8]}-r0002"
    assert isinstance(end, GuardStopError)
    assert str(end).splitlines() == [
        f"run {run.key} is stopped by the guard kl after round 2.",
        "What kl tells.",
        f"Its best round by rule_soft on the tuning captions is 2, exported to {out}; read its README.md.",
        "Run the same command again with",
        "  to continue in spite of the guard: --set guards.kl.action=warn",
        "  to continue from round 1 with half the learning rate: --set guards.kl.action=rollback",
        f"To inspect the run: g2rpo report --run {run.key[:8]}",
    ]


def test_on_captions_that_nothing_was_chosen_by_base_and_best_are_compared_where_they_were_judged(judged):
    run, params = judged
    judge(run, params, 2, rule_soft=HIGH, finally_too={"judge_a": HIGH, "rule_soft": HIGH})
    assert "On the test captions" not in str(ended(run, params, found("kl")))
    judge(run, params, 0, rule_soft=LOW, finally_too=REPORTED)
    told = "On the test captions, base -> best round: judge_a 0.300 -> 0.700, rule_soft 0.300 -> 0.700."
    assert told in str(ended(run, params, found("kl"))).splitlines()


def test_more_time_is_given_or_not_but_no_smaller_learning_rate(judged):
    told = str(ended(*judged, found("time")))
    assert "--set guards.time.action=warn" in told
    assert "rollback" not in told


def test_a_run_that_was_never_better_than_the_base_leaves_nothing_to_export(own_store):
    run, params = run_by_hand({})
    judge(run, params, 0, rule_soft=HIGH)
    judge(run, params, 1, rule_soft=LOW)
    told = str(ended(run, params, found("kl", 1)))
    assert "No round is better than the base by rule_soft on the tuning captions; nothing is exported." in told
    assert not (own_store / "exports").exists()


def test_where_the_disk_is_full_nothing_is_written(own_store):
    run, params = run_by_hand({})
    judge(run, params, 1, rule_soft=HIGH)
    told = str(ended(run, params, found("disk", 1)))
    assert told == f"run {run.key} is stopped by the guard disk after round 1.\nWhat disk tells."
    assert not (own_store / "exports").exists()


def test_the_best_policy_is_exported_with_a_card_and_only_once(again, own_store):
    params = again.params
    (again.run.evaluation_folder(0, "tuning") / "evaluate.json").unlink()  # then the last is the best that was judged
    told = str(ended(again.run, params, found("kl", 2)))
    out = own_store / "exports" / f"{again.run.key[:8]}-r0002"
    assert f"exported to {out}; read its README.md" in told
    card = out / "README.md"
    assert again.run.key in card.read_text()
    written = card.stat().st_mtime_ns
    assert str(ended(again.run, params, found("kl", 2))) == told
    assert card.stat().st_mtime_ns == written
