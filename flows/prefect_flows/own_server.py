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

from flows.common.environment import require_usable_proxies
from flows.common.login import new_login, prefect_client, prefect_settings
from flows.common.private import private_folder
from flows.common.processes import end_with_parent, free_port, listens, quiet_environment
from flows.common.servers import ask

_START_SECONDS = 300  # a slow disk; a server that ends is not waited for


@contextmanager
def prefect_server(folder: Path) -> Generator[dict[str, str]]:
    """Start a server with database and log in `folder`, yield its clients' variables, and stop it at the end.

    The variables are the URL of its API and a login that is drawn anew each time. The folder becomes private.

    Raises:
        ValueError: If it does not answer in time; with the end of its log. If the environment names a proxy that
            its clients cannot use.
    """
    require_usable_proxies()
    private_folder(folder)
    port, login = free_port(), new_login()
    url = f"http://127.0.0.1:{port}"
    environment = quiet_environment(folder) | prefect_settings(url, login)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    log = folder / "server.log"
    with log.open("w", encoding="utf-8") as out:
        server = subprocess.Popen(
            command,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C must reach only the flow, which still reports to the server
            preexec_fn=partial(end_with_parent, signal.SIGTERM),  # noqa: PLW1509  it makes one system call
        )
    try:
        _wait(server, f"{url}/api/health", log)
        yield prefect_client(f"{url}/api", login)
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
        if ask(health, seconds=2).status == HTTPStatus.OK and listens(server.pid, health):
            return
        time.sleep(0.2)
    tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-10:])
    raise ValueError(f"The Prefect server must answer at {health}, it did not. The end of {log}:\n{tail}")
