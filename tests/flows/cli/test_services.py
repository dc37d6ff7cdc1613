import contextlib
import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from processes import GONE
from reward_servers import reply, scripted
from said import said
from tiny import ROOT
from typer.testing import CliRunner

from flows.cli.app import app
from flows.common.login import login_digest, login_file, store_login
from flows.common.private import private_folder, write_private
from flows.common.processes import free_port
from flows.services.service import Service

PREFECT, MLFLOW = "http://127.0.0.1:4200", "http://127.0.0.1:5000"


@pytest.fixture
def sleeping():
    """A process that does nothing."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        with contextlib.suppress(ProcessLookupError):
            process.kill()


@pytest.fixture
def put(store):
    """Note a service as `g2rpo up` does; one whose process is gone where none is given."""

    def put(name, process=None, url="", began=None, **told):
        private_folder(store / "services")
        pid = process.pid if process else GONE
        began = began or (psutil.Process(pid).create_time() if process else time.time())
        folder = store / "services"
        service = Service(name, pid, url, str(folder / f"{name}.log"), began, told, login_digest())
        write_private(folder / f"{name}.json", json.dumps(asdict(service)))
        return service

    return put


def test_the_status_says_what_runs_and_what_has_ended(put, sleeping):
    put("prefect", sleeping, PREFECT)
    worker = put("worker")
    assert said("status", status=1).splitlines() == [
        f"prefect  has run for 0 minutes, process {sleeping.pid}  {PREFECT}",
        "mlflow   was not started by g2rpo up",
        f"worker   has ended; see {worker.log}; `g2rpo up` starts it again",
    ]
    first, second = json.loads(said("status", "--json", status=1))
    assert (first["name"], first["running"], first["url"]) == ("prefect", True, PREFECT)
    assert (second["name"], second["running"], second["pid"]) == ("worker", False, GONE)


def test_nothing_is_amiss_where_all_that_was_started_runs(put, sleeping):
    put("worker", sleeping)
    assert said("status").splitlines()[-1] == f"worker   has run for 0 minutes, process {sleeping.pid}  "


def test_the_addresses_are_exports_for_a_shell(put, sleeping):
    put("prefect", sleeping, PREFECT)
    with pytest.raises(ValueError, match="Prefect and MLflow must be running, got neither or one"):
        said("status", "--env")
    put("mlflow", sleeping, "http://127.0.0.1:5000/a b")
    name, _, password = store_login().partition(":")
    assert said("status", "--env").splitlines() == [
        f"export PREFECT_API_URL={PREFECT}/api",
        "export MLFLOW_TRACKING_URI='http://127.0.0.1:5000/a b'",
        f"export PREFECT_API_AUTH_STRING={name}:{password}",
        f"export MLFLOW_TRACKING_USERNAME={name}",
        f"export MLFLOW_TRACKING_PASSWORD={password}",
    ]


def test_behind_a_proxy_the_loopback_is_exported_as_direct(put, sleeping, monkeypatch):
    put("prefect", sleeping, PREFECT)
    put("mlflow", sleeping, "http://127.0.0.1:5000")
    monkeypatch.setenv("http_proxy", "http://gate:3128")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert said("status", "--env").splitlines()[-1] == "export no_proxy=127.0.0.1"


def test_no_password_of_a_database_is_shown(put, sleeping):
    put("mlflow", sleeping, MLFLOW, MLFLOW_TRACKING_URI="postgresql://lead:secret@db/mlflow")
    assert json.loads(said("status", "--json"))[0]["addresses"] == {"MLFLOW_TRACKING_URI": "postgresql://***@db/mlflow"}


def test_down_stops_what_runs(put, sleeping, store):
    put("worker", sleeping)
    assert said("down") == "stopped: worker\n"
    assert not psutil.pid_exists(sleeping.pid)
    assert not (store / "services" / "worker.json").exists()
    assert said("down") == "nothing was running\n"


def test_up_refuses_a_configured_server_that_does_not_answer(store):
    dead = f"http://127.0.0.1:{free_port()}"
    with scripted(reply(b'"3.8.8"')) as prefect, temporary_settings({PREFECT_API_URL: f"{prefect.url}/api"}):
        done = CliRunner().invoke(app, ["up", "--set", f"tracking.uri={dead}"])
        assert done.stderr == f"prefect is configured: {prefect.url}/api\n"
    assert f"the MLflow server must answer at {dead}, got no answer" in str(done.exception)
    assert done.stdout == ""


def test_up_says_where_all_is_that_runs_already(put, sleeping, prefect_in_process, tmp_path, monkeypatch):
    put("mlflow")
    store_login()
    mlflow = put("mlflow", sleeping, MLFLOW)
    put("worker", sleeping)
    for name, empty in {"prefect.yaml": "deployments: []\n", "automations.yaml": "automations: []\n"}.items():
        (tmp_path / name).write_text(empty)
    monkeypatch.chdir(tmp_path)
    with temporary_settings({PREFECT_API_URL: prefect_in_process}):
        done = CliRunner().invoke(app, ["up", "--params", str(ROOT / "params.yaml")], catch_exceptions=False)
    assert done.stdout.splitlines() == [
        f"Prefect  {prefect_in_process}",
        f"MLflow   {MLFLOW}",
        f"login    {login_file()}: Prefect's page asks once for its line, MLflow's for its name and password",
        f"logs     {Path(mlflow.log).parent}",
        "",
        'To use the commands of Prefect and MLflow in this terminal:  eval "$(g2rpo status --env)"',
        "To train in the worker:  prefect deployment run train/demo",
        "To stop all services:  g2rpo down",
    ]
    assert done.stderr.splitlines()[:2] == [
        f"prefect is configured: {prefect_in_process}",
        f"mlflow is running: {MLFLOW}",
    ]
    assert done.stderr.splitlines()[-1] == f"worker is running: process {sleeping.pid}"
