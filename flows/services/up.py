"""Up and down: Prefect's server, MLflow's server, work pool, deployments and worker, those that lack."""

import fcntl
import signal
import socket
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from flows.common.processes import free_port
from flows.common.servers import prefect_api, require_answer
from flows.services.deploy import POOL, deploy
from flows.services.service import Service, folder, plain_environment, start, stop, stored
from flows.tracking.database import make_database
from flows.tracking.observer import tracking_uri
from stages.disk.files import make_folder
from stages.disk.root import store_root
from stages.params.record import Params

NAMES = ("prefect", "mlflow", "worker")
"""In the order in which they are started; they are stopped in the other."""

_TRACKING = "MLFLOW_TRACKING_URI"


@dataclass(frozen=True)
class Addresses:
    """Where Prefect's API and MLflow are, for whom works with them."""

    prefect_api: str
    mlflow: str

    @property
    def environment(self) -> dict[str, str]:
        """As variables of the environment."""
        return {"PREFECT_API_URL": self.prefect_api, _TRACKING: self.mlflow}


def up(params: Params, project: Path, say: Callable[[str], None], *, anew: bool = False) -> Addresses:
    """Start what is not running yet, and return the addresses. A second call waits until the first has ended.

    A server that is configured elsewhere, by PREFECT_API_URL or the active profile, by tracking.uri or
    MLFLOW_TRACKING_URI, is used and neither started nor stopped. One that has died comes back at its address if that
    is free; a worker that was started with other addresses is started anew.

    Args:
        params: Whose section `tracking` says where runs are shown.
        project: The folder of prefect.yaml, from which deployed flows run.
        say: Is given a line for each step.
        anew: Whether deployments that a configured Prefect API has already are deployed from this folder.

    Raises:
        ValueError: If one does not come up; what this call has started is stopped then.
    """
    begun: list[Service] = []

    def running(name: str, make: Callable[[], Service], told: Mapping[str, str] | None = None) -> Service:
        service = stored(name)
        if service and service.running and _moved(service, told):
            say(f"{name} works with other servers, it is stopped: a flow run that it has begun goes on later")
            stop(service)
        elif service and service.running:
            say(f"{name} is running: {service.url or f'process {service.pid}'}")
            return service
        say(f"{name} is being started")
        service = make()
        begun.append(service)
        say(f"{name} is up: {service.url or f'process {service.pid}'}")
        return service

    with _one_at_a_time(say):
        try:
            configured = _configured_prefect()
            found = Addresses(_prefect(configured, running, say), _mlflow(params, running, say))
            deploy(project, found.prefect_api, say, anew=anew or configured is None)
            running("worker", lambda: _worker(found, project), found.environment)
        except BaseException:
            for service in reversed(begun):
                stop(service)
            raise
    return found


def addresses(params: Params) -> Addresses | None:
    """Return where the servers are, those of `up` or the configured ones; None where either lacks."""
    prefect, mlflow = stored("prefect"), stored("mlflow")
    api = prefect_api() or (f"{prefect.url}/api" if prefect and prefect.running else None)
    uri = tracking_uri(params)
    shown = uri if _served(uri) else (mlflow.url if mlflow and mlflow.running else None)
    return Addresses(api, shown) if api and shown else None


def stay() -> None:
    """Return never: when the worker ends, or this process is asked to (SIGTERM, Ctrl-C), all of it is stopped.

    Raises:
        ValueError: If the worker ended by itself, with its log.
        SystemExit: If this process was asked to end.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    worker = stored("worker")
    try:
        while worker and worker.running:
            time.sleep(1)
    except KeyboardInterrupt:
        sys.exit(0)
    finally:
        down()
    raise ValueError(f"The worker must go on, it has ended. See {worker.log if worker else 'its log'}; g2rpo up again.")


def down() -> list[str]:
    """Stop what `up` has started, the worker first with the flow runs that it has begun; return their names."""
    there = [service for name in reversed(NAMES) if (service := stored(name))]
    running = [service.name for service in there if service.running]
    for service in there:
        stop(service)
    return running


@contextmanager
def _one_at_a_time(say: Callable[[str], None]) -> Generator[None]:
    """Hold the lock of the services' folder; it is let go when this process ends, however it ends."""
    make_folder(folder())
    with (folder() / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another g2rpo up is at it: this one waits until it has ended")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _moved(service: Service, told: Mapping[str, str] | None) -> bool:
    """Whether a service works with other addresses than the present ones; an older file of it does not say."""
    return bool(service.told and told and service.told != told)


def _place(name: str) -> int:
    """Return the port for a server that is not running: its last one if nobody listens there, else a free one.

    What its last processes have left is ended first: it may hold the port, and answer at it for nobody.
    """
    last = stored(name)
    if last is None:
        return free_port()
    stop(last)
    port = urlsplit(last.url).port
    return port if port and _is_free(port) else free_port()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do, after connections that just ended
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _configured_prefect() -> str | None:
    """Return the API that is configured; None too if it is that of this store, as `g2rpo status --env` exports it."""
    api, own = prefect_api(), stored("prefect")
    return None if own and api == f"{own.url}/api" else api


def _served(uri: str) -> bool:
    return uri.startswith("http")


Running = Callable[[str, Callable[[], Service]], Service]


def _prefect(configured: str | None, running: Running, say: Callable[[str], None]) -> str:
    if configured:
        require_answer(f"{configured}/health", "the Prefect API", "unset PREFECT_API_URL to have one started")
        say(f"prefect is configured: {configured}")
        return configured

    def make() -> Service:
        port = _place("prefect")
        url = f"http://127.0.0.1:{port}"
        patient = {"PREFECT_SERVER_DATABASE_TIMEOUT": "60"}  # SQLite locks; an event that is lost fires no automation
        own = {"PREFECT_HOME": str(_prefect_home()), "PREFECT_UI_API_URL": f"{url}/api"}
        environment = {k: v for k, v in plain_environment().items() if k != "PREFECT_API_URL"} | own | patient
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        return start("prefect", command, environment, url=url, health=f"{url}/api/health")

    return f"{running('prefect', make).url}/api"


def _mlflow(params: Params, running: Running, say: Callable[[str], None]) -> str:
    uri, own = tracking_uri(params), stored("mlflow")
    if own and own.told and uri == own.url:  # as `g2rpo status --env` exports it
        uri = own.told[_TRACKING]
    if _served(uri):
        require_answer(f"{uri.rstrip('/')}/health", "the MLflow server", "correct tracking.uri or MLFLOW_TRACKING_URI")
        say(f"mlflow is configured: {uri}")
        return uri

    def make() -> Service:
        port = _place("mlflow")
        url = f"http://127.0.0.1:{port}"
        make_database(uri)
        told = {_TRACKING: uri}
        environment = plain_environment() | told | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        places = ["--backend-store-uri", uri, "--artifacts-destination", str(store_root().resolve() / "mlartifacts")]
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), *places]
        return start("mlflow", [*command, "--workers", "1"], environment, url=url, health=f"{url}/health", told=told)

    return running("mlflow", make).url


def _worker(found: Addresses, project: Path) -> Service:
    own = {"PREFECT_HOME": str(_prefect_home()), "PREFECT_CLIENT_MAX_RETRIES": "1"}
    environment = plain_environment() | found.environment | own
    port = free_port()
    health = f"http://127.0.0.1:{port}/health"
    environment |= {"PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1", "PREFECT_WORKER_WEBSERVER_PORT": str(port)}
    words = ["--pool", POOL, "--type", "process", "--name", f"g2rpo-{port}", "--with-healthcheck"]
    command = [sys.executable, "-m", "prefect", "worker", "start", *words]
    environment |= {"PWD": str(project)}
    return start("worker", command, environment, url="", health=health, told=found.environment)


def _prefect_home() -> Path:
    return store_root().resolve() / "prefect"
