"""A Prefect server of one's own: on the loopback, on a free port, stopped by the process that started it."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from flows.answers import REFUSED

_START_SECONDS = 90
_PR_SET_PDEATHSIG = 1  # of prctl, from linux/prctl.h


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port of this machine, by default of its loopback, that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def quiet_environment(folder: Path) -> dict[str, str]:
    """Return this process's environment with Prefect's files in `folder` and its telemetry off."""
    own = {"PREFECT_HOME": str(folder), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    return {key: value for key, value in os.environ.items() if key != "PREFECT_API_URL"} | own


def end_with_parent(by: signal.Signals) -> None:
    """Ask Linux to send this process a signal when the one that started it dies; elsewhere do nothing.

    To be given to `subprocess.Popen` as `preexec_fn`.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, by)


def login_refused(error: Exception) -> ValueError | None:
    """Return what to tell a person if an error is that a Prefect API refuses the login, or else None."""
    from httpx import HTTPStatusError

    if not isinstance(error, HTTPStatusError) or error.response.status_code not in REFUSED:
        return None
    got = "another login" if "Authorization" in error.request.headers else "none"
    return ValueError(
        f"The Prefect API requires the login that its server was started with, got {got}: it answers "
        f"{error.response.status_code} at {error.request.url}. Set PREFECT_API_AUTH_STRING to name:password."
    )


@contextmanager
def prefect_server(folder: Path) -> Generator[str]:
    """Start a server whose database and log lie in `folder`, yield the URL of its API, stop it at the end.

    Raises:
        RuntimeError: If it does not answer in time; with the end of its log.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    environment = quiet_environment(folder) | {"PREFECT_UI_API_URL": url}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    log = folder / "server.log"
    with log.open("w") as out:
        server = subprocess.Popen(
            command,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the work, which may still have to tell the server
            preexec_fn=partial(end_with_parent, signal.SIGTERM),  # noqa: PLW1509  it makes one system call
        )
    try:
        _wait(server, f"{url}/health", log)
        yield url
    finally:
        server.terminate()
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait(server: "subprocess.Popen[bytes]", health: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(health, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    tail = "\n".join(log.read_text().splitlines()[-10:])
    raise RuntimeError(f"The Prefect server must answer at {health}, it did not. The end of {log}:\n{tail}")
