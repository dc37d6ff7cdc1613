import os
import signal
import socket
import subprocess
import sys

import pytest
from histories import run_by_hand

from flows.common.endings import StopRequestedError
from flows.training.stop_request import ask_to_stop, forget_request, obey_request
from stages.store.lock import Holder, locked

HERE = socket.gethostname()


@pytest.fixture
def run(own_store):
    return run_by_hand({})[0]


def held_as_if_by(run, pid, host):
    """Make the lock, which this process holds, tell of another process."""
    (run.path / "lock").write_text(f"{pid}\n{host}\n")


def test_a_request_stops_the_run_once_with_how_to_go_on(run):
    obey_request(run)  # nobody has asked
    with locked(run.path):
        told = ask_to_stop(run.key[:6], now=False)
    assert told == f"run {run.key}: {Holder(os.getpid(), HERE)} stops at the end of its stage"
    with pytest.raises(StopRequestedError, match=f"^run {run.key} is stopped on request; run the same command again"):
        obey_request(run)
    obey_request(run)


def test_a_request_that_was_meant_for_an_earlier_process_is_forgotten(run):
    forget_request(run)
    with locked(run.path):
        ask_to_stop(run.key, now=False)
    forget_request(run)
    obey_request(run)


def test_a_run_that_nobody_holds_cannot_be_stopped(run):
    with pytest.raises(ValueError, match=f"Run {run.key} must be running to be stopped, but no process holds it"):
        ask_to_stop(run.key, now=False)
    obey_request(run)  # no request is left for whoever comes next


def test_at_once_the_process_that_holds_the_run_is_terminated(run):
    words = [sys.executable, "-c", "import time; time.sleep(600)"]
    with subprocess.Popen(words) as holder, locked(run.path):
        try:
            held_as_if_by(run, holder.pid, HERE)
            told = ask_to_stop(run.key, now=True)
            assert holder.wait(60) == -signal.SIGTERM
        finally:
            holder.kill()
    assert told.startswith(f"run {run.key}: process {holder.pid} of {HERE} stops at once")
    with pytest.raises(StopRequestedError):
        obey_request(run)


def test_a_process_of_another_machine_is_not_terminated_but_asked(run):
    with locked(run.path):
        held_as_if_by(run, 1, "elsewhere")
        with pytest.raises(ValueError, match=r"held by a process of this machine .* got process 1 of elsewhere. Run"):
            ask_to_stop(run.key, now=True)
        obey_request(run)
        assert "process 1 of elsewhere stops at the end" in ask_to_stop(run.key, now=False)
