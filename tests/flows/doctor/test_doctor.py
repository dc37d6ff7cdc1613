"""Faults that were planted, each found with its remedy."""

import json
import shutil
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Running
from processes import GONE
from typer.testing import CliRunner

from flows.cli.app import app
from flows.prefect_flows.train import train_flow
from flows.services.zombies import HOST


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("G2RPO_HOME", str(tmp_path / "store"))
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "store"


def doctor(*words):
    """What the command finds that is not in order, by name, and its exit status."""
    done = CliRunner().invoke(app, ["doctor", "--json", *words])
    found = {check["name"]: check for check in json.loads(done.stdout) if check["state"] != "ok"}
    assert done.exit_code == any(check["state"] == "fault" for check in found.values())
    assert all(check["remedy"] for check in found.values())
    return found


def told(found, name, state, *parts):
    assert found[name]["state"] == state
    for part in parts:
        assert part in f"{found[name]['told']} {found[name]['remedy']}"


def test_where_nothing_is_wrong_there_is_no_fault(store):
    assert [name for name, check in doctor().items() if check["state"] == "fault"] == []


def test_packages_that_are_known_not_to_work_are_named_with_what_becomes_of_them(store, tmp_path, monkeypatch):
    for name, version in {"sqlalchemy": "2.1.9", "fastapi": "0.165.0"}.items():
        folder = tmp_path / "site" / f"{name}-{version}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    found = doctor()
    told(found, "sqlalchemy", "fault", "sqlalchemy<2.1 is required, got 2.1.9", "no schedule ever fires", "pip install")
    told(found, "fastapi", "fault", "fastapi<0.151 is required, got 0.165.0", "every Prefect flow and server dies")


def test_a_device_that_is_not_there_and_a_disk_that_is_full(store, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    found = doctor("--set", "resources.device=cuda", "--set", "guards.disk.free_gb=1e9")
    told(found, "device", "fault", "resources.device is cuda, and there is none", "set resources.device to auto or cpu")
    told(found, "disk", "fault", "guards.disk asks for 1e+09", "g2rpo prune")


def test_a_store_that_cannot_be_written_to(store, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("G2RPO_HOME", str(tmp_path / "file" / "store"))
    told(doctor(), "store", "fault", "cannot be written to", "Set G2RPO_HOME")


def test_parameters_that_are_not_valid(store):
    told(doctor("--set", "rollout.group_size=1"), "parameters", "fault", "rollout.group_size")


def test_what_killed_processes_have_left_in_the_store(store, trained):
    run = store / "runs" / trained.run_folder().name
    shutil.copytree(trained.run_folder(), run)
    (run / "HEAD").write_text("1\n")
    (run / "lock").write_text(f"{GONE}\n{socket.gethostname()}\n")
    (run / "rounds" / "0001" / f".score.json.{GONE}.tmp").touch()
    (store / "runs" / "0123456789abcdef").mkdir()
    services = store / "services"
    services.mkdir()
    service = {"name": "mlflow", "pid": GONE, "url": "http://127.0.0.1:9", "log": "mlflow.log", "started_at": 1.0}
    (services / "mlflow.json").write_text(json.dumps(service))
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert f"process {GONE}, which held it, is gone after 1 of 2 rounds" in done.stdout
    assert f"or `g2rpo train --run {run.name[:8]}`: it goes on there." in done.stdout
    assert "1 files are half written, as rounds/0001/.score.json" in done.stdout
    found = doctor()
    told(found, "run 01234567", "fault", "run.json", "Give the command that made the run again")
    told(found, "service mlflow", "fault", f"process {GONE} of `g2rpo up` has ended", "Give `g2rpo up`")


@contextmanager
def server_of_version(version, status=200):
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(version).encode())

        def log_message(self, *words):
            pass

    server = HTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_servers_that_do_not_answer(store, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        found = doctor()
    told(found, "prefect", "fault", "nothing answers at http://127.0.0.1:9/api", "correct PREFECT_API_URL")
    told(found, "mlflow", "fault", "nothing answers at http://127.0.0.1:9", "correct tracking.uri")


def test_servers_of_another_version(store, monkeypatch):
    with server_of_version("2.0.1") as url, temporary_settings({PREFECT_API_URL: f"{url}/api"}):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        found = doctor()
    for name in ("prefect", "mlflow"):
        told(found, name, "fault", "is of version 2.0.1", f"pip install {name}==2.0.1 here")


@pytest.mark.parametrize(
    ("status", "parts"),
    [
        (401, {"prefect": ["refuses the login", "401", "Set PREFECT_API_AUTH_STRING"]}),
        (403, {"mlflow": ["refuses the login", "403", "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"]}),
        (404, {"prefect": ["does not answer as prefect does: 404 at /admin/version", "correct PREFECT_API_URL"]}),
        (502, {"mlflow": ["does not answer as mlflow does: 502 at /version", "correct tracking.uri"]}),
    ],
)
def test_a_refused_login_is_told_from_another_refusal(store, monkeypatch, status, parts):
    with server_of_version("", status) as url, temporary_settings({PREFECT_API_URL: f"{url}/api"}):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        found = doctor()
    for name, words in parts.items():
        told(found, name, "fault", *words)
        assert ("login" in found[name]["told"] + found[name]["remedy"]) == (status in (401, 403))


def test_gated_weights_without_a_token(store, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    found = doctor("--params", "presets/flux1-dev-hps.yaml")
    told(
        found, "hub", "warn", "black-forest-labs/FLUX.1-dev may be gated", "Accept the licence at https://", "HF_TOKEN"
    )


def test_a_flow_run_whose_process_is_gone(store, prefect_api):
    with temporary_settings({PREFECT_API_URL: prefect_api}):
        with get_client(sync_client=True) as client:
            made = client.create_flow_run(train_flow, parameters={"key": "0", "params": {}}, state=Running())
            client.update_flow_run(made.id, infrastructure_pid=str(GONE))
            client.update_flow_run_labels(made.id, {HOST: socket.gethostname()})
        try:
            found = doctor()
        finally:
            with get_client(sync_client=True) as client:
                client.delete_flow_run(made.id)
    told(found, f"flow run {made.name}", "fault", f"its process, {GONE}, is gone", "g2rpo up")


def test_a_folder_without_git_and_dvc(store, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    shutil.copy("params.yaml", tmp_path / "empty")
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    found = doctor()
    told(found, "git", "warn", "no git repository", "git init")
    told(found, "dvc", "warn", "no DVC repository", "dvc init")
