import re
from datetime import datetime

import pytest
from waiting import in_place_of_sleep

from flows.observers.run_log import LogObserver, lines_of, log_path

METRICS = {
    "reward/judge_a/mean": 0.78149,
    "reward/judge_a/step_0/mean": 0.5,
    "update/kl": 0.000123456,
    "update/grad_norm": 1.5,
    "update/learning_rate": 1e-4,
}


def test_the_log_of_a_run_lies_in_the_store(tmp_path, monkeypatch):
    monkeypatch.setenv("G2RPO_HOME", str(tmp_path / "store"))
    assert log_path("3fa9c1d20b7e4488") == tmp_path / "store" / "logs" / "3fa9c1d20b7e4488.log"


def test_what_a_run_says_is_appended_with_its_time(run, judged, finding):
    for ending in ("stopped", "finished"):
        observer = LogObserver()
        observer.watch(run, 14)
        observer.stage_started("rollout", 4)
        observer.round_finished(4, METRICS)
        observer.evaluated(judged)
        observer.guarded(finding)
        observer.close(ending)
    times, said = zip(*(line.split(" ", 1) for line in log_path(run.key).read_text().splitlines()), strict=True)
    session = [
        "goes on after 4 of 14 rounds",
        "round 5: judge_a 0.7815 kl 0.000123 grad_norm 1.5 learning_rate 0.0001",
        "tuning after 10: rule_strict 0.4500 judge_a 0.8000 judge_a/steps_4 0.2000",
        "guard kl, after round 10 (warn): the policy has moved by 0.2",
    ]
    assert list(said) == [*session, "stopped", *session, "finished"]
    assert all(datetime.fromisoformat(time).tzinfo for time in times)


def test_the_last_lines_of_a_log_are_read(tmp_path):
    log = tmp_path / "run.log"
    log.write_bytes(b"one\ntwo \xff\nthree")
    assert list(lines_of(log, 2, follow=None)) == ["two \ufffd", "three"]
    assert list(lines_of(log, 9, follow=None)) == ["one", "two \ufffd", "three"]


def test_a_log_that_is_followed_yields_what_comes_until_nobody_writes_it(tmp_path, monkeypatch):
    log = tmp_path / "run.log"
    log.write_text("one\ntwo\n")
    waited = []

    def more(seconds):
        waited.append(seconds)
        with log.open("a") as out:
            out.write(f"come after {len(waited)} waits\n")

    in_place_of_sleep(monkeypatch, more)
    written = iter([True, True, False])
    lines = lines_of(log, 1, follow=lambda: next(written))
    assert list(lines) == ["two", "come after 1 waits", "come after 2 waits"]
    assert waited == [0.5, 0.5]  # and none once nobody writes any more


def test_a_log_that_is_not_there_is_refused(tmp_path):
    told = f"A log is required, got none at {tmp_path / 'run.log'}. It exists once a run or a service has started."
    with pytest.raises(ValueError, match=re.escape(told)):
        next(lines_of(tmp_path / "run.log", 5, follow=None))
