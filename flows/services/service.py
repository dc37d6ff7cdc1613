"""A service of this machine: a process that outlives the command that started it, with its address and its log."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from flows.common.servers import reply
from stages.disk.files import make_folder, read_json, write_json
from stages.disk.root import store_root

_START_SECONDS = 120
_END_SECONDS = 30


@dataclass(frozen=True)
class Service:
    """A service as its state file has it. Example: name "mlflow", url "http://127.0.0.1:40123"."""

    name: str
    pid: int
    url: str
    """Where a person opens it; empty for a worker."""
    log: str
    started_at: float
    """When its process began, by the system's clock: a later process of the same id is another."""
    told: dict[str, str] = field(default_factory=dict[str, str])
    """Where what it works with is, as the variables of the environment that it was started with."""

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        try:
            process = psutil.Process(self.pid)
            ended = process.status() == psutil.STATUS_ZOMBIE
            return not ended and abs(process.create_time() - self.started_at) < 1
        except psutil.NoSuchProcess:
            return False


def folder() -> Path:
    """Return the folder of state files and logs."""
    return store_root().resolve() / "services"


def stored(name: str) -> Service | None:
    """Return the service of a name, running or not; None if none was started or its state file is damaged."""
    path = folder() / f"{name}.json"
    try:
        return Service(**read_json(path))
    except (OSError, ValueError, TypeError):
        return None


def start(
    name: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    url: str,
    health: str,
    told: Mapping[str, str] | None = None,
) -> Service:
    """Start a service that goes on when this process ends, and return it once it answers.

    Args:
        name: What it is called; its log is `<name>.log`.
        command: The command line.
        environment: Its whole environment.
        url: Where a person opens it.
        health: The address that answers when it is ready.
        told: Those of the environment that say where what it works with is.

    Raises:
        ValueError: If it ends, or does not answer in time; with the end of its log. It is stopped then, and as well
            when this process is to end while it waits.
    """
    make_folder(folder())
    log = folder() / f"{name}.log"
    with log.open("a") as out:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # the terminal's Ctrl-C and hang-up are not for it
        )
    began = psutil.Process(process.pid).create_time()
    service = Service(name, process.pid, url, str(log), began, dict(told or {}))
    try:
        write_json(folder() / f"{name}.json", asdict(service))
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            if answers(health):
                return service
            time.sleep(0.2)
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-10:])
        raise ValueError(f"{name} must answer at {health}, it did not. The end of {log}:\n{tail}")
    except BaseException:  # also Ctrl-C, and the exit by which the command line answers SIGTERM
        stop(service)
        raise


def stop(service: Service) -> None:
    """End a service and all that it has started: by SIGTERM, and what is there half a minute later by SIGKILL."""
    if service.running:
        top = psutil.Process(service.pid)
        _end([top, *top.children(recursive=True)])
    elif service.url:  # a server; the flow runs that a worker has left go on
        _end(_left_of(service))
    (folder() / f"{service.name}.json").unlink(missing_ok=True)


def answers(url: str) -> bool:
    """Whether a server answers at an address, be it with a refusal."""
    return isinstance(reply(url, seconds=2), int)


def plain_environment() -> dict[str, str]:
    """Return this process's environment without telemetry and with few threads that wait idly."""
    quiet = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return {**os.environ, **quiet, "G2RPO_HOME": str(store_root().resolve())}


def _left_of(service: Service) -> list[psutil.Process]:
    """Return what a service whose first process is gone has left: of its session and this store. It holds the port."""
    left = list[psutil.Process]()
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError, PermissionError):  # gone meanwhile, or somebody else's
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
