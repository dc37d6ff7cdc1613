"""Servers and worker are stand-ins that answer at once; test_up_and_down.py starts the real ones."""

import fcntl
import json
import os
import signal
import socket
import sys
import threading
from dataclasses import asdict

import psutil
import pytest
import yaml
from prefect.settings import PREFECT_API_URL, temporary_settings
from processes import GONE
from stand_ins import noted
from tiny import tiny_params
from waiting import in_place_of_sleep, wait_for

from flows.common.login import login_file, mlflow_client, store_login, stored_login
from flows.common.private import private_folder, write_private
from flows.services.service import Service, answers, folder, stored
from flows.services.up import (
    Addresses,
    _configured_prefect,
    _mlflow,
    _one_at_a_time,
    _port_for,
    _prefect,
    _worker,
    addresses,
    down,
    stay,
    up,
)

pytestmark = pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
"""Services are meant to."""

NOBODY = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def nothing_is_left(store, monkeypatch):
    monkeypatch.setattr("flows.services.service._START_SECONDS", 60)
    private_folder(folder())
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        yield
        for file in folder().glob("*.json"):
            service = Service(**json.loads(file.read_text()))
            if service.running and service.pid != os.getpid():
                psutil.Process(service.pid).kill()


@pytest.fixture
def mlflow_file(store):
    """MLflow's file in the store, as one that is there: to make it takes seconds."""
    (store / "mlflow.db").touch()
    return f"sqlite:///{store}/mlflow.db"


def note(name, pid=GONE, url=NOBODY, **changes):
    """Write the state file of a service."""
    began = psutil.Process(pid).create_time() if psutil.pid_exists(pid) else 1.0
    service = Service(name, pid, url, f"{name}.log", began, **changes)
    write_private(folder() / f"{name}.json", json.dumps(asdict(service)))
    return service


def made(name, make):
    return make()


def test_addresses_are_told_as_variables_of_the_environment_and_the_login_to_own_servers_alone():
    variables = {"PREFECT_API_URL": "http://a/api", "MLFLOW_TRACKING_URI": "http://b"}
    assert Addresses("http://a/api", "http://b").environment == variables
    name, _, password = store_login().partition(":")
    note("prefect", url="http://a")
    note("mlflow", url="http://b")
    at_prefect = {"PREFECT_API_URL": "http://a/api", "PREFECT_API_AUTH_STRING": f"{name}:{password}"}
    at_mlflow = {"MLFLOW_TRACKING_USERNAME": name, "MLFLOW_TRACKING_PASSWORD": password}
    both = Addresses.of("http://a/api", "http://b")
    assert both.variables == variables | at_prefect | at_mlflow
    assert password not in repr(both)
    assert Addresses.of("http://team/api", "http://b").login == at_mlflow
    assert Addresses.of("http://a/api", "http://team").login == at_prefect
    assert Addresses.of("http://a.evil/api", "http://b/").login == {}


def test_addresses_are_those_that_run_or_are_configured_and_none_where_one_lacks(monkeypatch):
    params = tiny_params()
    assert addresses(params) is None
    note("prefect", os.getpid(), "http://127.0.0.1:7")
    note("mlflow", os.getpid(), "http://127.0.0.1:8")
    assert addresses(params) == Addresses("http://127.0.0.1:7/api", "http://127.0.0.1:8")
    with temporary_settings({PREFECT_API_URL: "http://team/api"}):
        assert addresses(params) == Addresses("http://team/api", "http://127.0.0.1:8")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://team")
    assert addresses(params) == Addresses("http://127.0.0.1:7/api", "http://team")
    note("prefect")
    assert addresses(params) is None


def test_an_api_that_is_this_stores_own_is_not_taken_for_one_of_others():
    note("prefect", url="http://127.0.0.1:7")
    assert _configured_prefect() is None
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:7/api"}):
        assert _configured_prefect() is None
    with temporary_settings({PREFECT_API_URL: "http://team/api"}):
        assert _configured_prefect() == "http://team/api"


def test_a_server_comes_back_at_its_port_unless_somebody_listens_there():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        note("mlflow", url=f"http://127.0.0.1:{port}")
        assert _port_for("mlflow") not in (port, None)
        note("mlflow", url=f"http://127.0.0.1:{port}")
    assert _port_for("mlflow") == port
    assert stored("mlflow") is None
    assert 1024 <= _port_for("prefect") < 2**16


def test_prefect_is_started_at_home_in_the_store_and_without_an_address_of_others(stand_in, store, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://another/api")
    api = _prefect(None, made, print)
    service = stored("prefect")
    assert api == f"{service.url}/api"
    assert answers(f"{api}/health")
    (command,) = noted(stand_in)
    port = service.url.rpartition(":")[2]
    assert command["words"] == ["-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port]
    environment = command["environment"]
    assert environment["PREFECT_HOME"] == str(store.resolve() / "prefect")
    assert environment["PREFECT_UI_API_URL"] == api
    assert environment["PREFECT_SERVER_API_AUTH_STRING"] == stored_login()
    assert environment["PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"] == f"{service.url},http://localhost:{port}"
    assert environment["PREFECT_SERVER_DATABASE_TIMEOUT"] == "60"
    assert "PREFECT_API_URL" not in environment


def test_mlflow_is_started_on_the_file_that_runs_are_tracked_in(stand_in, store, mlflow_file, monkeypatch):
    url = _mlflow(tiny_params(), made, print)
    service = stored("mlflow")
    assert (service.url, service.addresses) == (url, {"MLFLOW_TRACKING_URI": mlflow_file})
    assert answers(f"{url}/health")
    (command,) = noted(stand_in)
    words = "-m uvicorn --factory flows.tracking.server:app --host 127.0.0.1 --port"
    assert command["words"] == [*words.split(), url.rpartition(":")[2]]  # no address of a database, which has a login
    assert command["environment"]["MLFLOW_TRACKING_URI"] == mlflow_file
    assert command["environment"]["G2RPO_HOME"] == str(store.resolve())
    assert command["environment"]["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)  # as `g2rpo status --env` exports it
    psutil.Process(service.pid).kill()
    psutil.wait_procs([psutil.Process(service.pid)])
    assert _mlflow(tiny_params(), made, print) == url
    assert noted(stand_in)[1]["words"] == command["words"]


def test_servers_that_are_configured_must_answer_and_are_not_started(stand_in):
    params = tiny_params(f"tracking.uri={NOBODY}")
    with pytest.raises(ValueError, match=rf"^the Prefect API must answer at {NOBODY}/api, got .*or unset it"):
        _prefect(f"{NOBODY}/api", made, print)
    with pytest.raises(ValueError, match=rf"^the MLflow server must answer at {NOBODY}, got .*correct tracking.uri"):
        _mlflow(params, made, print)
    assert noted(stand_in) == []


def test_a_worker_is_told_both_servers_and_works_in_the_projects_folder(stand_in, store, tmp_path):
    found = Addresses("http://a/api", "http://b", {"PREFECT_API_AUTH_STRING": "lead:secret"})
    service = _worker(found, tmp_path)
    assert (service.url, service.addresses) == ("", found.environment)
    (command,) = noted(stand_in)
    environment = command["environment"]
    assert command["words"][:6] == ["-m", "prefect", "worker", "start", "--pool", "g2rpo"]
    assert "--with-healthcheck" in command["words"]
    assert found.variables.items() <= environment.items()
    assert "secret" not in (folder() / "worker.json").read_text()
    assert (environment["PWD"], environment["PREFECT_HOME"]) == (str(tmp_path), str(store.resolve() / "prefect"))


def test_down_stops_the_worker_first_and_names_what_ran(stand_in, tmp_path, mlflow_file):
    url = _mlflow(tiny_params(), made, print)
    worker = _worker(Addresses("http://a/api", url), tmp_path)
    note("prefect")
    assert down() == ["worker", "mlflow"]
    assert not worker.running
    assert not answers(url)
    assert [stored(name) for name in ("prefect", "mlflow", "worker")] == [None] * 3
    assert down() == []


def test_a_worker_that_has_ended_ends_the_stay_and_all_the_rest(stand_in, mlflow_file, monkeypatch):
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # as the command sets it
    url = _mlflow(tiny_params(), made, print)
    note("worker", url="")
    try:
        with pytest.raises(
            ValueError, match=r"^The worker must run, but it has ended. See worker.log; run g2rpo up again.$"
        ):
            stay()
        assert not answers(url)
        note("worker", os.getpid(), url="")
        monkeypatch.setattr("flows.services.up.down", (folder() / "worker.json").unlink)
        in_place_of_sleep(monkeypatch, lambda seconds: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(SystemExit) as asked:
            stay()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert asked.value.code == 143
    assert stored("worker") is None


def test_a_second_up_says_that_it_waits_and_goes_on_when_the_first_has_ended():
    said, entered = [], threading.Event()

    def second():
        with _one_at_a_time(said.append):
            entered.set()

    with _one_at_a_time(said.append):
        assert said == []
        with (folder() / "up.lock").open() as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        waits = threading.Thread(target=second)
        waits.start()
        wait_for(lambda: said)
        assert said == ["another g2rpo up is running: this one waits for it"]
        assert not entered.is_set()
    waits.join()
    assert entered.is_set()


def test_up_starts_what_lacks_and_starts_a_worker_anew_only_when_a_server_has_moved(
    stand_in, tmp_path, mlflow_file, prefect_in_process, monkeypatch
):
    project, said = tmp_path / "project", []
    project.mkdir()
    for name in ("deployments", "automations"):
        file = "prefect.yaml" if name == "deployments" else "automations.yaml"
        (project / file).write_text(yaml.safe_dump({name: []}))
    with temporary_settings({PREFECT_API_URL: prefect_in_process}):
        found = up(tiny_params(), project, said.append)
        login = stored_login()
        assert found.login == mlflow_client(login)
        mlflow, worker = stored("mlflow"), stored("worker")
        assert found == Addresses(prefect_in_process, mlflow.url, mlflow_client(login))
        assert said[:3] == [
            f"prefect is configured: {prefect_in_process}",
            "mlflow starts",
            f"mlflow is up: {mlflow.url}",
        ]
        assert said[-2:] == ["worker starts", f"worker is up: process {worker.pid}"]
        said.clear()
        assert up(tiny_params(), project, said.append) == found
        assert {f"mlflow is running: {mlflow.url}", f"worker is running: process {worker.pid}"} <= {*said}
        assert (stored("mlflow"), stored("worker"), stored_login()) == (mlflow, worker, login)
        said.clear()
        moved = tiny_params(f"tracking.uri={found.mlflow.replace('127.0.0.1', 'localhost')}")
        up(moved, project, said.append)
        assert "worker uses other servers, it is stopped: its flow run continues later" in said
        assert not worker.running
        assert stored("worker").addresses["MLFLOW_TRACKING_URI"] == moved.tracking.uri
        said.clear()
        login_file().unlink()
        with monkeypatch.context() as exported:
            exported.setenv("MLFLOW_TRACKING_URI", found.mlflow)  # as `g2rpo status --env` has exported it
            up(tiny_params(), project, said.append)
        assert [line.partition(" uses another login, it is stopped")[0] for line in said if "another" in line] == [
            "mlflow",
            "worker",
        ]
        assert stored_login() not in (None, login)
        down()
        monkeypatch.setenv("FAILING", "worker")
        with pytest.raises(ValueError, match="(?s)^worker must answer at .*prefect cannot do this"):
            up(tiny_params(), project, said.append)
    assert [stored("mlflow"), stored("worker")] == [None, None]
