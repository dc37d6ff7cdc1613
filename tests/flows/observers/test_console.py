import io
import os
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from flows.observers import console
from flows.observers.console import ConsoleObserver

METRICS = {"reward/judge_a/mean": 0.78149, "reward/judge_a/step_0/mean": 0.5, "update/kl": 0.1}


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until the test moves it."""
    clock = SimpleNamespace(now=1000.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(console, "time", clock)
    return clock


def test_a_plain_line_comes_every_tenth_round_and_at_the_end_with_the_time_left(run, judged, finding, clock, capsys):
    observer = ConsoleObserver()
    observer.watch(run, 14)
    for number in range(4, 14):
        observer.stage_started("rollout", number)
        clock.now += 20
        observer.round_finished(number, METRICS)
        if number == 9:
            observer.evaluated(judged)
    observer.guarded(finding)
    observer.close("finished")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        f"run {run.key}: 4 of 14 rounds are done ({run.path})",
        "round 10/14  reward judge_a 0.781    1:20 left",
        "tuning after 10: rule_strict 0.450 judge_a 0.800",
        "round 14/14  reward judge_a 0.781  tuning after 10: rule_strict 0.450 judge_a 0.800  0:00 left",
        "warning: guard kl, after round 10 (warn): the policy has moved by 0.2",
    ]


@contextmanager
def terminal(monkeypatch):
    """Have standard error on a pseudo terminal; yields what reads all that it has been told."""
    for name, value in {"TERM": "xterm", "COLUMNS": "120", "LINES": "30", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    controller, controlled = os.openpty()
    with open(controlled, "w", encoding="utf8") as error, open(controller, "rb", buffering=0) as reader:
        monkeypatch.setattr(sys, "stderr", error)
        os.set_blocking(controller, False)
        told = io.StringIO()

        def read():
            error.flush()
            while chunk := reader.read(65536):
                told.write(chunk.decode(errors="replace"))
            return told.getvalue()

        yield read


def test_a_terminal_shows_a_live_bar_and_gets_its_cursor_back(run, judged, finding, monkeypatch):
    with terminal(monkeypatch) as told:
        observer = ConsoleObserver()
        observer.watch(run, 14)
        assert "start" in told()
        observer.stage_started("rollout", 4)
        observer.round_finished(4, METRICS)
        observer.evaluated(judged)
        observer.guarded(finding)
        assert "\x1b[?25h" not in told()
        observer.close("finished")
        shown = told()
    assert "warning: guard kl, after round 10 (warn)" in shown
    assert "rounds are done" not in shown
    assert "\x1b[?25h" in shown
    _, stage, last = shown.rpartition("rollout")
    assert stage == "rollout"
    assert "5/14" in last
    assert "reward judge_a 0.781  tuning after 10: rule_strict 0.450" in last
