import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest
from histories import run_by_hand
from processes import GONE

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


def test_a_folder_in_the_place_of_a_request_is_none_and_keeps_nobody_from_asking(run):
    folder = run.path / "stop"
    for within in ("", "inner"):
        (folder / within).mkdir(parents=True)
        obey_request(run)
        forget_request(run)
        assert not folder.exists()
    folder.mkdir()
    with locked(run.path):
        ask_to_stop(run.key, now=False)
        with pytest.raises(StopRequestedError):
            obey_request(run)


def test_a_run_that_nobody_holds_cannot_be_stopped(run):
    with pytest.raises(ValueError, match=f"Run {run.key} must be running to be stopped, but no process holds it"):
        ask_to_stop(run.key, now=False)
    obey_request(run)  # no request is left for whoever comes next


@contextmanager
def process(script, *words, says):
    """Another process of this user that has said a line."""
    with subprocess.Popen([sys.executable, "-c", script, *words], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == f"{says}\n"
            yield other
        finally:
            other.kill()


HOLD = """
import pathlib, sys, time
from stages.store.lock import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_at_once_the_process_that_holds_the_run_is_terminated(run):
    with process(HOLD, str(run.path), says="held") as holder:
        told = ask_to_stop(run.key, now=True)
        assert holder.wait(60) == -signal.SIGTERM
    assert told.startswith(f"run {run.key}: process {holder.pid} of {HERE} stops at once")
    with pytest.raises(StopRequestedError):
        obey_request(run)


@pytest.mark.parametrize("pid", [1, GONE])
def test_a_lock_that_names_no_process_of_this_user_signals_none(run, pid, monkeypatch):
    monkeypatch.setattr(os, "kill", lambda *words: pytest.fail(f"signalled {words}"))
    with locked(run.path):
        held_as_if_by(run, pid, HERE)
        with pytest.raises(ValueError, match=r"^A run is stopped at once by a signal to a process of yours"):
            ask_to_stop(run.key, now=True)
        obey_request(run)  # nothing was asked


def test_a_bystander_that_a_lock_names_is_not_signalled(run):
    with process("import time; print('up', flush=True); time.sleep(600)", says="up") as bystander, locked(run.path):
        held_as_if_by(run, bystander.pid, HERE)
        with pytest.raises(ValueError, match=rf"got process {bystander.pid} of {HERE}, which is no such process. Run"):
            ask_to_stop(run.key, now=True)
        assert bystander.poll() is None
        obey_request(run)


def test_a_process_of_another_user_is_not_signalled(run, monkeypatch):
    with process(HOLD, str(run.path), says="held") as holder:
        me = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: me + 1)
        with pytest.raises(ValueError, match="process of yours"):
            ask_to_stop(run.key, now=True)
        assert holder.poll() is None


def test_a_process_of_another_machine_is_not_terminated_but_asked(run):
    with locked(run.path):
        held_as_if_by(run, 1, "elsewhere")
        with pytest.raises(ValueError, match=r"held by a process of this machine .* got process 1 of elsewhere. Run"):
            ask_to_stop(run.key, now=True)
        obey_request(run)
        assert "process 1 of elsewhere stops at the end" in ask_to_stop(run.key, now=False)
