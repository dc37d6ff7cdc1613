"""Child processes and free ports."""

import ctypes
import os
import signal
import socket
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # of prctl, from linux/prctl.h


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port of this machine, by default of its loopback, on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


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
