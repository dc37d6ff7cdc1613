"""Up and down: start what is missing of the two servers, work pool, deployments and worker, and stop it."""

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
"""Services in the order in which they start; they stop in reverse order."""

_TRACKING = "MLFLOW_TRACKING_URI"


@dataclass(frozen=True)
class Addresses:
    """The addresses of Prefect's API and of MLflow."""

    prefect_api: str
    mlflow: str

    @property
    def environment(self) -> dict[str, str]:
        """The addresses as variables of the environment."""
        return {"PREFECT_API_URL": self.prefect_api, _TRACKING: self.mlflow}


def up(params: Params, project: Path, say: Callable[[str], None], *, anew: bool = False) -> Addresses:
    """Start what does not run yet, and return the addresses. A second call waits for the first.

    It uses a server that is configured, by PREFECT_API_URL or the active profile, by tracking.uri or
    MLFLOW_TRACKING_URI, and neither starts nor stops it. A dead server restarts at its old address if that is free; a
    worker that uses other addresses is restarted.

    Args:
        params: The parameters; the section `tracking` may name an MLflow server.
        project: The folder of prefect.yaml, from which deployed flows run.
        say: Gets a line for each step.
        anew: Whether to deploy again, from this folder, what a configured Prefect API already has.

    Raises:
        ValueError: If a service does not start; what this call has started is then stopped.
    """
    started: list[Service] = []

    def running(name: str, make: Callable[[], Service], environment: Mapping[str, str] | None = None) -> Service:
        service = stored(name)
        if service and service.running and _moved(service, environment):
            say(f"{name} uses other servers, it is stopped: its flow run continues later")
            stop(service)
        elif service and service.running:
            say(f"{name} is running: {service.url or f'process {service.pid}'}")
            return service
        say(f"{name} starts")
        service = make()
        started.append(service)
        say(f"{name} is up: {service.url or f'process {service.pid}'}")
        return service

    with _one_at_a_time(say):
        try:
            configured = _configured_prefect()
            servers = Addresses(_prefect(configured, running, say), _mlflow(params, running, say))
            deploy(project, servers.prefect_api, say, anew=anew or configured is None)
            running("worker", lambda: _worker(servers, project), servers.environment)
        except BaseException:
            for service in reversed(started):
                stop(service)
            raise
    return servers


def addresses(params: Params) -> Addresses | None:
    """Return the addresses of the servers, of `up` or configured; None if one of them is missing."""
    prefect, mlflow = stored("prefect"), stored("mlflow")
    api = prefect_api() or (f"{prefect.url}/api" if prefect and prefect.running else None)
    uri = tracking_uri(params)
    mlflow_url = uri if _served(uri) else (mlflow.url if mlflow and mlflow.running else None)
    return Addresses(api, mlflow_url) if api and mlflow_url else None


def stay() -> None:
    """Wait until the worker ends, or this process gets SIGTERM or Ctrl-C; then stop all services. Never return.

    Raises:
        ValueError: If the worker has ended by itself; with the path of its log.
        SystemExit: On SIGTERM or Ctrl-C.
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
    raise ValueError(
        f"The worker must run, but it has ended. See {worker.log if worker else 'its log'}; run g2rpo up again."
    )


def down() -> list[str]:
    """Stop the services of `up`, first the worker with its flow runs; return the names of those that ran."""
    services = [service for name in reversed(NAMES) if (service := stored(name))]
    running = [service.name for service in services if service.running]
    for service in services:
        stop(service)
    return running


@contextmanager
def _one_at_a_time(say: Callable[[str], None]) -> Generator[None]:
    """Hold the lock of the services' folder; the system releases it when this process ends."""
    make_folder(folder())
    with (folder() / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another g2rpo up is running: this one waits for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _moved(service: Service, environment: Mapping[str, str] | None) -> bool:
    """Whether a service uses other addresses than the present ones; False if its state file has none."""
    return bool(service.addresses and environment and service.addresses != environment)


def _port_for(name: str) -> int:
    """Return the port for a server that does not run: its last one if it is free, else another free one.

    First end what is left of its last processes, which may hold the port.
    """
    last = stored(name)
    if last is None:
        return free_port()
    stop(last)
    port = urlsplit(last.url).port
    return port if port and _is_free(port) else free_port()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as servers do, in spite of connections that have just ended
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _configured_prefect() -> str | None:
    """Return the configured API; None also if it is this store's own, as `g2rpo status --env` exports it."""
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
        port = _port_for("prefect")
        url = f"http://127.0.0.1:{port}"
        patient = {"PREFECT_SERVER_DATABASE_TIMEOUT": "60"}  # SQLite locks; a lost event triggers no automation
        own = {"PREFECT_HOME": str(_prefect_home()), "PREFECT_UI_API_URL": f"{url}/api"}
        environment = {k: v for k, v in plain_environment().items() if k != "PREFECT_API_URL"} | own | patient
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        return start("prefect", command, environment, url=url, health=f"{url}/api/health")

    return f"{running('prefect', make).url}/api"


def _mlflow(params: Params, running: Running, say: Callable[[str], None]) -> str:
    uri, own = tracking_uri(params), stored("mlflow")
    if own and own.addresses and uri == own.url:  # as `g2rpo status --env` exports it
        uri = own.addresses[_TRACKING]
    if _served(uri):
        require_answer(f"{uri.rstrip('/')}/health", "the MLflow server", "correct tracking.uri or MLFLOW_TRACKING_URI")
        say(f"mlflow is configured: {uri}")
        return uri

    def make() -> Service:
        port = _port_for("mlflow")
        url = f"http://127.0.0.1:{port}"
        make_database(uri)
        backend = {_TRACKING: uri}
        environment = plain_environment() | backend | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        places = ["--backend-store-uri", uri, "--artifacts-destination", str(store_root().resolve() / "mlartifacts")]
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), *places]
        return start(
            "mlflow", [*command, "--workers", "1"], environment, url=url, health=f"{url}/health", addresses=backend
        )

    return running("mlflow", make).url


def _worker(servers: Addresses, project: Path) -> Service:
    own = {"PREFECT_HOME": str(_prefect_home()), "PREFECT_CLIENT_MAX_RETRIES": "1"}
    environment = plain_environment() | servers.environment | own
    port = free_port()
    health = f"http://127.0.0.1:{port}/health"
    environment |= {"PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1", "PREFECT_WORKER_WEBSERVER_PORT": str(port)}
    options = ["--pool", POOL, "--type", "process", "--name", f"g2rpo-{port}", "--with-healthcheck"]
    command = [sys.executable, "-m", "prefect", "worker", "start", *options]
    environment |= {"PWD": str(project)}
    return start("worker", command, environment, url="", health=health, addresses=servers.environment)


def _prefect_home() -> Path:
    return store_root().resolve() / "prefect"
