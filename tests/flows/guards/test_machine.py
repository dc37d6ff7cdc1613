import shutil
from types import SimpleNamespace

import pytest
from histories import column, history

from flows.guards.machine import disk, time


def test_a_disk_with_less_room_than_asked_for_is_told_with_the_space_and_a_remedy(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1_500_000_000))
    told = disk(history([], "guards.disk.free_gb=2.0"))
    assert told.startswith("2 GB must be free for ., got 1.50 GB. Make room, for example with `g2rpo prune`")


def test_the_free_space_is_that_of_the_disk():
    assert disk(history([], "guards.disk.free_gb=1e9")) is not None
    assert disk(history([], "guards.disk.free_gb=1e-9")) is None


@pytest.mark.parametrize(("free", "tells"), [(2_000_000_000, False), (1_999_999_999, True)])
def test_just_as_much_as_asked_for_is_enough(monkeypatch, free, tells):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    assert (disk(history([], "guards.disk.free_gb=2.0")) is not None) == tells


def test_the_seconds_of_all_stages_of_all_rounds_are_counted_against_the_budget():
    """Two rounds of 1800 s + 3600 s each: three hours; what is not named seconds/ does not count."""
    rounds = [{"seconds/rollout": 1800.0, "seconds/update": 3600.0, "cpu_seconds": 1e9}] * 2
    told = time(history(rounds, "guards.time.hours=2.5"))
    assert told == "The rounds have taken 3 hours, the budget is 2.5. Raise guards.time.hours to continue."
    assert time(history(rounds, "guards.time.hours=3.0")) is not None
    assert time(history(rounds, "guards.time.hours=3.1")) is None


def test_without_a_budget_no_time_is_too_long():
    assert time(history(column("seconds/update", 1e9))) is None
