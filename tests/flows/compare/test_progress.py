"""What a person sees while the runs of a plan go on."""

from types import SimpleNamespace

import pytest
from comparisons import write_plan
from whole_runs import make_whole

from flows.compare.comparison import Comparison
from flows.compare.progress import Progress


@pytest.fixture
def comparison(tmp_path):
    return Comparison.of(write_plan(tmp_path))


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    clock = SimpleNamespace(now=1000.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr("flows.compare.progress.time", clock)
    return clock


def test_first_it_is_told_what_is_done_and_what_is_to_go(comparison, capsys):
    for missing in (4, 1, 0):
        Progress(comparison, missing)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"{comparison.path}: 0 of 4 runs are done, 4 to go, 2 at a time",
        f"{comparison.path}: 3 of 4 runs are done, 1 to go, 1 at a time",
        f"{comparison.path}: 4 of 4 runs are done, all of them",
    ]


def test_a_run_is_told_with_its_figure_and_the_time_that_the_others_may_take(comparison, clock, capsys):
    """One of three missing has taken 95 s since the beginning, so two may take 190."""
    placed = comparison.runs[1]
    make_whole(placed)
    progress = Progress(comparison, 3)
    clock.now += 95
    progress.succeeded(placed, 63.4)
    assert capsys.readouterr().err.splitlines()[1:] == [
        "2/4 coarse, seed 7: 63 s, rule_soft 0.550 on test; about 3:10 left"
    ]
    told = "63 s, rule_soft 0.550 on test"
    assert progress.rows == [{"run": "coarse, seed 7", "key": placed.key, "result": told}]
    assert progress.failed == {}


def test_the_last_run_leaves_no_time(comparison, clock, capsys):
    progress = Progress(comparison, 1)
    clock.now += 95
    progress.failed_with(comparison.runs[0], "no room")
    assert capsys.readouterr().err.splitlines()[1:] == ["4/4 fine, seed 7: failed: no room"]


def test_a_run_that_has_failed_is_told_by_its_first_line_and_kept_with_its_log(comparison, capsys):
    progress, placed = Progress(comparison, 4), comparison.runs[0]
    progress.failed_with(placed, "no room\non the disk")
    assert "1/4 fine, seed 7: failed: no room" in capsys.readouterr().err
    assert progress.failed == {"fine, seed 7": f"no room\non the disk (log: {placed.log('small')})"}
    assert progress.rows == [{"run": "fine, seed 7", "key": placed.key, "result": "failed: no room"}]


def test_a_run_that_has_ended_and_is_not_whole_has_failed(comparison):
    progress, placed = Progress(comparison, 4), comparison.runs[0]
    progress.succeeded(placed, 63.4)
    assert progress.failed["fine, seed 7"].startswith(
        "it has ended and is not complete; run the same command again (log:"
    )
