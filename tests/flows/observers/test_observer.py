from pathlib import Path

import pytest

from flows.observers.observer import Judged, Observers


class Recorder:
    """An observer that fails when it is told a given thing."""

    def __init__(self, fails_at=None):
        self.heard, self.fails_at = [], fails_at

    def __getattr__(self, name):
        def told(*words, **named):
            self.heard.append(name)
            if name == self.fails_at:
                raise ConnectionError("the server is gone")

        return told


def session(*observers):
    with Observers(observers).watching(None, 2) as watching:
        for number in (0, 1):
            watching.stage_started("rollout", number)
            watching.round_finished(number, {})
        watching.evaluated(Judged(2, "test", Path()))


def test_an_observer_that_fails_is_left_out_and_the_run_goes_on(capsys):
    lost, kept = Recorder("round_finished"), Recorder()
    session(lost, kept)
    assert lost.heard == ["watch", "stage_started", "round_finished"]
    assert kept.heard == ["watch", *["stage_started", "round_finished"] * 2, "evaluated", "close"]
    assert "Recorder shows this run no longer, the run goes on: the server is gone" in capsys.readouterr().err


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
