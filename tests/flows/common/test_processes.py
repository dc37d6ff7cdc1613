import contextlib
import os
import signal
import socket
import subprocess
import sys

import psutil
import pytest
from tiny import ROOT
from waiting import wait_for

from flows.common.processes import free_port, listens, quiet_environment

LEAVES_ONE_BEHIND = """
import signal, subprocess, sys
from functools import partial
from flows.common.processes import end_with_parent
command = [sys.executable, "-c", "import time; time.sleep(600)"]
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
print(subprocess.Popen(command, **quiet, preexec_fn=partial(end_with_parent, signal.SIGKILL)).pid)
"""


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_free_port_can_be_taken(host):
    with socket.socket() as taken:
        taken.bind((host, free_port(host)))
        assert free_port(host) != taken.getsockname()[1]


def test_the_port_is_one_of_the_loopback_by_default():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))


def test_a_quiet_environment_has_a_home_of_its_own_and_no_api(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    monkeypatch.setenv("PREFECT_HOME", "/somewhere")
    monkeypatch.setenv("KEPT", "as it is")
    quiet = quiet_environment(tmp_path)
    assert "PREFECT_API_URL" not in quiet
    assert quiet["PREFECT_HOME"] == str(tmp_path)
    assert (quiet["PREFECT_SERVER_ANALYTICS_ENABLED"], quiet["DO_NOT_TRACK"]) == ("false", "1")
    assert quiet["KEPT"] == "as it is"
    assert os.environ["PREFECT_HOME"] == "/somewhere"


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone sends such a signal")
def test_a_process_ends_with_the_one_that_started_it():
    done = subprocess.run(
        [sys.executable, "-c", LEAVES_ONE_BEHIND], cwd=ROOT, capture_output=True, text=True, check=True
    )
    left = int(done.stdout)
    try:
        wait_for(lambda: not _runs(left))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(left, signal.SIGKILL)


def _runs(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_who_listens_is_told_from_who_does_not_also_in_a_child():
    with socket.socket() as server, subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        server.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{server.getsockname()[1]}/health"
        assert not listens(os.getpid(), url)
        server.listen()
        assert listens(os.getpid(), url)
        assert listens(os.getppid(), url)
        assert not listens(other.pid, url)
        other.communicate(b"\n")
    assert not listens(other.pid, url)
