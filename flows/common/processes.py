"""Child processes and free ports."""

import ctypes
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import psutil

_PR_SET_PDEATHSIG = 1  # of prctl, from linux/prctl.h


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port of this machine, by default of its loopback, on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def listens(pid: int, url: str) -> bool:
    """Return whether a process or a child of it listens on the port of an address: who answers there is no stranger.

    A server takes a moment to listen. In that time another user's process may, and it would be sent the login.
    """
    port = urlsplit(url).port
    with suppress(psutil.NoSuchProcess):
        top = psutil.Process(pid)
        return any(_has_port(process, port) for process in (top, *top.children(recursive=True)))
    return False


def _has_port(process: psutil.Process, port: int | None) -> bool:
    with suppress(psutil.NoSuchProcess):
        sockets = process.net_connections("tcp")
        return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in sockets)
    return False


def quiet_environment(folder: Path) -> dict[str, str]:
    """Return this process's environment with Prefect's files in `folder` and its telemetry off."""
    own = {"PREFECT_HOME": str(folder), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    return {key: value for key, value in os.environ.items() if key != "PREFECT_API_URL"} | own


def end_with_parent(by: signal.Signals) -> None:
    """Ask Linux to send this process a signal when its parent dies; do nothing on other systems.

    Pass it to `subprocess.Popen` as `preexec_fn`.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, by)
