import os
import sys
from io import FileIO, TextIOWrapper
from pathlib import Path

import pytest

from flows.common.endings import StopRequestedError
from flows.guards.finding import TrippedError
from flows.observers.observer import Evaluated, Observer, Observers


class Recorder:
    """An observer that fails when it is told a given thing."""

    def __init__(self, fails_at=None):
        self.heard, self.words, self.fails_at = [], [], fails_at

    def __getattr__(self, name):
        def told(*words):
            self.heard.append(name)
            self.words.append(words)
            if name == self.fails_at:
                raise ConnectionError("the server is gone")

        return told


def session(*observers):
    with Observers(observers).watching(None, 2) as watching:
        for number in (0, 1):
            watching.stage_started("rollout", number)
            watching.round_finished(number, {})
        watching.evaluated(Evaluated(2, "test", Path()))


def test_an_observer_that_fails_is_left_out_and_the_run_goes_on(capsys):
    lost, kept = Recorder("round_finished"), Recorder()
    session(lost, kept)
    assert lost.heard == ["watch", "stage_started", "round_finished"]
    assert kept.heard == ["watch", *["stage_started", "round_finished"] * 2, "evaluated", "close"]
    assert "Recorder shows this run no longer, the run goes on: the server is gone" in capsys.readouterr().err


def test_an_observer_defines_only_what_it_shows(finding):
    class Rounds(Observer):
        def __init__(self):
            self.seen = []

        def round_finished(self, number, metrics):
            self.seen.append(number)

    shown = Rounds()
    session(shown)
    shown.guarded(finding)
    assert shown.seen == [0, 1]


def test_an_observer_that_cannot_begin_stops_the_run_before_it_starts():
    ready, absent = Recorder(), Recorder("watch")
    with pytest.raises(ConnectionError):
        session(ready, absent)
    assert ready.heard == ["watch", "close"]


def test_a_run_that_fails_closes_its_observers():
    watching = Recorder()
    with pytest.raises(RuntimeError, match="stage"), Observers([watching]).watching(None, 1):
        raise RuntimeError("stage")
    assert watching.heard == ["watch", "close"]


def test_all_observers_are_told_all_in_order_and_closed_in_reverse(finding):
    judged, order = Evaluated(2, "test", Path()), []

    class Named(Recorder):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def close(self, ending):
            order.append((self.name, ending))

    first, second = Named("first"), Named("second")
    with Observers([first, second]).watching("the run", 7) as watching:
        watching.stage_started("score", 6)
        watching.round_finished(6, {"round": 7.0})
        watching.evaluated(judged)
        watching.guarded(finding)
    told = [("the run", 7), ("score", 6), (6, {"round": 7.0}), (judged,), (finding,)]
    assert first.words == second.words == told
    assert first.heard == ["watch", "stage_started", "round_finished", "evaluated", "guarded"]
    assert order == [("second", "finished"), ("first", "finished")]


@pytest.mark.parametrize("fails_at", ["stage_started", "evaluated", "guarded"])
def test_whatever_fails_first_is_the_last_that_an_observer_is_told(fails_at, finding, monkeypatch):
    lost = Recorder(fails_at)
    error = TextIOWrapper(FileIO(os.open("/dev/full", os.O_WRONLY)), write_through=True)
    monkeypatch.setattr(sys, "stderr", error)  # a disk that is full: the line that tells of it is lost too
    with Observers([lost]).watching(None, 1) as watching:
        watching.stage_started("score", 0)
        watching.evaluated(Evaluated(1, "test", Path()))
        watching.guarded(finding)
    error.close()
    assert lost.heard[-1] == fails_at


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (RuntimeError("stage"), "failed"),
        (StopRequestedError("as asked"), "stopped"),
        (KeyboardInterrupt(), "stopped"),
        (SystemExit(143), "stopped"),
    ],
)
def test_observers_are_told_how_a_run_ended(error, ending):
    watching = Recorder()
    with pytest.raises(type(error)), Observers([watching]).watching(None, 1):
        raise error
    assert watching.words[-1] == (ending,)


def test_observers_are_told_that_a_guard_has_ended_a_run(finding):
    watching = Recorder()
    with pytest.raises(TrippedError), Observers([watching]).watching(None, 1):
        raise TrippedError(finding)
    assert watching.words[-1] == ("guarded",)


def test_a_judged_policy_has_the_mean_of_each_reward(judged):
    assert judged.metrics == pytest.approx({"rule_strict": 0.45, "judge_a": 0.8, "judge_a/steps_4": 0.2})
