"""A temporary Prefect server: on the loopback, on a free port, stopped by the process that started it."""

import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path

from flows.common.processes import end_with_parent, free_port, quiet_environment
from flows.common.servers import reply

_START_SECONDS = 90


@contextmanager
def prefect_server(folder: Path) -> Generator[str]:
    """Start a server with database and log in `folder`, yield the URL of its API, and stop it at the end.

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
            start_new_session=True,  # Ctrl-C must reach only the flow, which still reports to the server
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
        if reply(health, seconds=2) == HTTPStatus.OK:
            return
        time.sleep(0.2)
    tail = "\n".join(log.read_text().splitlines()[-10:])
    raise RuntimeError(f"The Prefect server must answer at {health}, it did not. The end of {log}:\n{tail}")
