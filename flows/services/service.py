"""A service of this machine: a process that outlives the command that started it, with an address and a log."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import psutil
from pydantic import ConfigDict, Field, TypeAdapter

from flows.common.login import login_digest
from flows.common.private import private_folder, read_private, write_private
from flows.common.processes import listens
from flows.common.servers import ask
from stages.disk.root import store_root

_START_SECONDS = 120
_END_SECONDS = 30


@dataclass(frozen=True)
class Service:
    """A service, as stored in its state file. Example: name "mlflow", url "http://127.0.0.1:40123"."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    name: str
    pid: Annotated[int, Field(gt=1)]
    url: str
    """Address to open in a browser; empty for a worker."""
    log: str
    started_at: float
    """Start of its process, by the system's clock: it tells this process from a later one with the same id."""
    addresses: dict[str, str] = field(default_factory=dict[str, str])
    """Addresses of the servers that it uses, as variables of the environment that it was started with."""
    login: str = ""
    """Digest of the login with which it was started."""

    @property
    def running(self) -> bool:
        """Whether its process is alive."""
        try:
            process = psutil.Process(self.pid)
            ended = process.status() == psutil.STATUS_ZOMBIE
            return not ended and abs(process.create_time() - self.started_at) < 1
        except psutil.NoSuchProcess:
            return False


_STATE = TypeAdapter(Service)


def folder() -> Path:
    """Return the folder of state files, logs and the login; it is private."""
    return store_root().resolve() / "services"


def stored(name: str) -> Service | None:
    """Return a service by name, running or not.

    None: it was never started, or its state file is damaged or not yours alone.
    """
    try:
        service = _STATE.validate_json(read_private(folder() / f"{name}.json") or "")
    except ValueError:
        return None
    return service if service.name == name else None


def start(
    name: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    url: str,
    health: str,
    addresses: Mapping[str, str] | None = None,
) -> Service:
    """Start a service that outlives this process, and return it once it answers.

    Args:
        name: Its name; its log is `<name>.log`.
        command: The command line.
        environment: Its whole environment.
        url: Address to open in a browser.
        health: Address that answers when it is ready.
        addresses: The variables of the environment with the addresses of the servers that it uses.

    Raises:
        ValueError: If it ends, or does not answer in time; with the end of its log. It is then stopped, as it is
            if this process is asked to end while it waits.
    """
    log = private_folder(folder()) / f"{name}.log"
    with log.open("a", encoding="utf-8") as out:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # the terminal's Ctrl-C and hang-up must not reach it
        )
    began = psutil.Process(process.pid).create_time()
    service = Service(name, process.pid, url, str(log), began, dict(addresses or {}), login_digest())
    try:
        write_private(folder() / f"{name}.json", json.dumps(asdict(service), indent=1))  # an address may have a login
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            if answers(health) and listens(process.pid, health):
                return service
            time.sleep(0.2)
        tail = "\n".join(log.read_text(errors="replace", encoding="utf-8").splitlines()[-10:])
        raise ValueError(f"{name} must answer at {health}, it did not. The end of {log}:\n{tail}")
    except BaseException:  # also Ctrl-C and the exit on SIGTERM
        stop(service)
        raise


def stop(service: Service) -> None:
    """End a service and its child processes by SIGTERM, and by SIGKILL after half a minute.

    Raises:
        ValueError: If it is a process of another user; it keeps running.
    """
    if service.running:
        top = psutil.Process(service.pid)
        if top.uids().real != os.getuid():
            raise ValueError(
                f"{service.name} must be a process of yours to be stopped, got process {service.pid} of user "
                f"{top.username()}. Ask that user, or set G2RPO_HOME to a store of your own."
            )
        _end([top, *top.children(recursive=True)])
    elif service.url:  # a server; flow runs of a dead worker continue
        _end(_left_of(service))
    (folder() / f"{service.name}.json").unlink(missing_ok=True)


def answers(url: str) -> bool:
    """Whether a server answers at an address, even with a refusal."""
    return ask(url, seconds=2).status is not None


def plain_environment() -> dict[str, str]:
    """Return this process's environment with telemetry off and the absolute path of the store."""
    quiet = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return {**os.environ, **quiet, "G2RPO_HOME": str(store_root().resolve())}


def _left_of(service: Service) -> list[psutil.Process]:
    """Return the processes left by a service whose first process is gone; one of them may hold its port."""
    left = list[psutil.Process]()
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError, PermissionError):  # it has ended, or belongs to another user
            of_session = process.pid != service.pid and os.getsid(process.pid) == service.pid
            if of_session and process.environ().get("G2RPO_HOME") == str(store_root().resolve()):
                left.append(process)
    return left


def _end(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        _signal(process.terminate)
    _, left = psutil.wait_procs(processes, timeout=_END_SECONDS)
    for process in left:
        _signal(process.kill)
    psutil.wait_procs(left, timeout=_END_SECONDS)


def _signal(send: Callable[[], None]) -> None:
    with suppress(psutil.NoSuchProcess):
        send()
