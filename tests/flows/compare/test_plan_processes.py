"""Processes that live for a whole plan: reused, replaced where one has died, and ended with the plan."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from stand_in_process import stand_in
from waiting import wait_for

from flows.compare.plan_processes import PlanProcesses, RunFailedError


@pytest.fixture
def log(tmp_path, monkeypatch):
    """Where a stand-in process notes its id with each task."""
    stand_in(tmp_path, monkeypatch)
    return tmp_path / "log"


def ids(log):
    return [int(line) for line in log.read_text().splitlines()]


def is_there(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_process_does_one_task_after_another_and_ends_with_the_block(log, tmp_path):
    with PlanProcesses(1) as processes:
        seconds = [processes.run({"log": str(log), "sleep": 0.05, "ended": str(tmp_path / "ended")}) for _ in range(2)]
        first, second = ids(log)
        assert first == second
        assert is_there(first)
    assert min(seconds) >= 0.05
    assert (tmp_path / "ended").exists()  # it was told that there is nothing more, and waited for
    assert not is_there(first)


def test_an_error_is_told_and_the_process_goes_on(log):
    with PlanProcesses(1) as processes:
        with pytest.raises(RunFailedError, match="^no room on the disk$"):
            processes.run({"log": str(log), "error": "no room on the disk"})
        processes.run({"log": str(log)})
    assert len(set(ids(log))) == 1


def test_after_an_error_that_spoils_its_process_another_is_started(log):
    with PlanProcesses(1) as processes:
        with pytest.raises(RunFailedError, match="out of memory"):
            processes.run({"log": str(log), "error": "out of memory", "last": True})
        processes.run({"log": str(log)})
    assert len(set(ids(log))) == 2


def test_a_process_that_was_killed_is_told_and_another_is_started(log):
    with PlanProcesses(1) as processes:
        with pytest.raises(RunFailedError, match="^its process ended by signal 9, perhaps out of memory$"):
            processes.run({"log": str(log), "die": signal.SIGKILL})
        processes.run({"log": str(log)})
    assert len(set(ids(log))) == 2


def test_the_process_is_that_of_the_worker():
    """A real one: a task that names no log ends it."""
    with (
        PlanProcesses(1) as processes,
        pytest.raises(RunFailedError, match="^its process ended with status 1, perhaps out"),
    ):
        processes.run({})


def test_as_many_tasks_as_there_are_processes_are_done_at_a_time(tmp_path, log):
    """Each of the two waits until the other has begun."""
    logs = [str(tmp_path / name) for name in ("one", "two")]
    with ThreadPoolExecutor(2) as threads, PlanProcesses(2) as processes:
        list(threads.map(lambda log: processes.run({"log": log, "until": logs}), logs))
    assert len({*ids(tmp_path / "one"), *ids(tmp_path / "two")}) == 2


def test_an_error_in_the_block_stops_processes_where_they_are(log, tmp_path):
    def interrupted():
        with PlanProcesses(1) as processes:
            processes.run({"log": str(log), "ended": str(tmp_path / "ended")})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not is_there(ids(log)[0])
    assert not (tmp_path / "ended").exists()  # it was not left to come to its end by itself


def test_a_process_that_does_not_end_is_killed(log, monkeypatch):
    monkeypatch.setattr("flows.compare.plan_processes._ENDING_SECONDS", 0.05)
    with ThreadPoolExecutor(1) as threads:
        with PlanProcesses(1) as processes:
            processes.run({"log": str(log)})
            stuck = threads.submit(processes.run, {"log": str(log), "sleep": 600})
            wait_for(lambda: len(ids(log)) == 2)
        with pytest.raises(RunFailedError, match="by signal 9"):
            stuck.result()


def test_after_the_block_nothing_is_begun(log):
    with PlanProcesses(1) as processes:
        pass
    with pytest.raises(RunFailedError, match="^stopped$"):
        processes.run({"log": str(log)})
    assert not log.exists()
