"""Up and down: start what is missing of the two servers, work pool, deployments and worker, and stop it."""

import fcntl
import socket
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from flows.common.login import kept_login, login_digest, mlflow_client, prefect_client, prefect_settings, stored_login
from flows.common.private import private_folder
from flows.common.processes import free_port
from flows.common.servers import prefect_api, require_prefect
from flows.services.deploy import POOL, deploy
from flows.services.service import Service, folder, plain_environment, start, stop, stored
from flows.tracking.database import make_database
from flows.tracking.recordable import require_mlflow, tracking_uri
from stages.disk.root import store_root
from stages.params.addresses import without_login
from stages.params.record import Params

NAMES = ("prefect", "mlflow", "worker")
"""Services in the order in which they start; they stop in reverse order."""

_TRACKING = "MLFLOW_TRACKING_URI"


@dataclass(frozen=True)
class Addresses:
    """The addresses of Prefect's API and of MLflow, and the login of those servers that `up` has started."""

    prefect_api: str
    mlflow: str
    login: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    """Variables of the environment with the login; none for a server that is configured elsewhere."""

    @property
    def environment(self) -> dict[str, str]:
        """The addresses as variables of the environment."""
        return {"PREFECT_API_URL": self.prefect_api, _TRACKING: self.mlflow}

    @property
    def variables(self) -> dict[str, str]:
        """The addresses and the login as variables of the environment."""
        return self.environment | self.login

    @classmethod
    def of(cls, prefect_api: str, mlflow: str) -> "Addresses":
        """Return the addresses with the login of this store's own servers among them; no other server gets it."""
        login, mine = stored_login(), dict[str, str]()
        own_prefect, own_mlflow = stored("prefect"), stored("mlflow")
        if login and own_prefect and prefect_api == f"{own_prefect.url}/api":
            mine |= prefect_client(prefect_api, login)
        if login and own_mlflow and mlflow == own_mlflow.url:
            mine |= mlflow_client(login)
        return cls(prefect_api, mlflow, mine)


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
        change = service and service.running and _change(service, environment)
        if service and change:
            say(f"{name} uses {change}, it is stopped: its flow run continues later")
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
            kept_login()
            configured = _configured_prefect()
            servers = Addresses.of(_prefect(configured, running, say), _mlflow(params, running, say))
            deploy(project, servers.variables, say, anew=anew or configured is None)
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
    return Addresses.of(api, mlflow_url) if api and mlflow_url else None


def stay() -> None:
    """Wait until the worker ends, or a signal ends this process; then stop all services. Never return.

    Raises:
        ValueError: If the worker has ended by itself; with the path of its log.
        SystemExit: On Ctrl-C with status 0, on SIGTERM with that of `main`.
    """
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
    with (private_folder(folder()) / "up.lock").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another g2rpo up is running: this one waits for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _change(service: Service, environment: Mapping[str, str] | None) -> str | None:
    """Return why a service must start anew: the login or the servers that it uses are not the present ones."""
    if service.login != login_digest():
        return "another login"
    return "other servers" if service.addresses and environment and service.addresses != environment else None


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
        require_prefect(configured)
        say(f"prefect is configured: {without_login(configured)}")
        return configured

    def make() -> Service:
        port = _port_for("prefect")
        url = f"http://127.0.0.1:{port}"
        patient = {"PREFECT_SERVER_DATABASE_TIMEOUT": "60"}  # SQLite locks; a lost event triggers no automation
        login = prefect_settings(url, kept_login())
        own = {"PREFECT_HOME": str(_prefect_home())} | login
        environment = {k: v for k, v in plain_environment().items() if k != "PREFECT_API_URL"} | own | patient
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        return start("prefect", command, environment, url=url, health=f"{url}/api/health")

    return f"{running('prefect', make).url}/api"


def _mlflow(params: Params, running: Running, say: Callable[[str], None]) -> str:
    uri, own = tracking_uri(params), stored("mlflow")
    if own and own.addresses and uri == own.url:  # as `g2rpo status --env` exports it
        uri = own.addresses[_TRACKING]
    if _served(uri):
        require_mlflow(uri)
        say(f"mlflow is configured: {without_login(uri)}")
        return uri

    def make() -> Service:
        port = _port_for("mlflow")
        url = f"http://127.0.0.1:{port}"
        make_database(uri)
        backend = {_TRACKING: uri}
        environment = plain_environment() | backend | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        application = ["uvicorn", "--factory", "flows.tracking.server:app"]
        command = [sys.executable, "-m", *application, "--host", "127.0.0.1", "--port", str(port)]
        return start("mlflow", command, environment, url=url, health=f"{url}/health", addresses=backend)

    return running("mlflow", make).url


def _worker(servers: Addresses, project: Path) -> Service:
    own = {"PREFECT_HOME": str(_prefect_home()), "PREFECT_CLIENT_MAX_RETRIES": "1"}
    environment = plain_environment() | servers.variables | own
    port = free_port()
    health = f"http://127.0.0.1:{port}/health"
    environment |= {"PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1", "PREFECT_WORKER_WEBSERVER_PORT": str(port)}
    options = ["--pool", POOL, "--type", "process", "--name", f"g2rpo-{port}", "--with-healthcheck"]
    command = [sys.executable, "-m", "prefect", "worker", "start", *options]
    environment |= {"PWD": str(project)}
    return start("worker", command, environment, url="", health=health, addresses=servers.environment)


def _prefect_home() -> Path:
    """Return the folder of Prefect's database; it is private, since it has the values of secret blocks with the key."""
    return private_folder(store_root().resolve() / "prefect")
