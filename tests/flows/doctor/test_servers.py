"""Servers of the loopback that answer as they are told to, and Prefect's own API."""

import json
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Running
from processes import GONE
from tiny import ROOT, tiny_params

from flows.doctor.check import Check
from flows.doctor.servers import hub, mlflow, prefect
from flows.prefect_flows.train import train_flow
from flows.services.zombies import HOST
from stages.params.file import load_params

NOBODY = "http://127.0.0.1:9"
LOGIN = "Basic bGVhZDpzZWNyZXQ="
"""The header for lead:secret."""


@contextmanager
def server_of_version(version, status=200, *, wants=None):
    """A server that tells a version to everybody, and the rest to those with a header alone, if it wants one."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            refused = wants and "version" not in self.path and self.headers["Authorization"] != wants
            self.send_response(401 if refused else status)
            self.end_headers()
            self.wfile.write(json.dumps(version).encode())

        def log_message(self, *words):
            pass

    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def looks(monkeypatch):
    """Looks at both servers at an address; what is found of each."""

    def look(url):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        with temporary_settings({PREFECT_API_URL: f"{url}/api"}):
            return {check.name: check for check in (*prefect(), *mlflow(tiny_params()))}

    return look


def test_without_servers_runs_are_plain_calls_and_are_shown_in_a_file(store):
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert list(prefect()) == [Check("prefect", "ok", "no API is configured: runs are plain calls")]
    assert list(mlflow(tiny_params())) == [Check("mlflow", "ok", f"sqlite:///{store}/mlflow.db")]


def test_a_server_that_up_has_started_is_asked_where_no_other_is_configured(store):
    (store / "services").mkdir(parents=True)
    own = psutil.Process()
    about = {"name": "prefect", "pid": own.pid, "url": NOBODY, "log": "", "started_at": own.create_time()}
    (store / "services" / "prefect.json").write_text(json.dumps(about))
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert next(prefect()).message == f"nothing answers at {NOBODY}/api"


def test_servers_that_do_not_answer_are_told_with_what_to_correct(looks):
    found = looks(NOBODY)
    assert found["prefect"].message == f"nothing answers at {NOBODY}/api"
    assert found["prefect"].remedy == "Start it, correct PREFECT_API_URL, or unset it to run without."
    assert found["mlflow"].message == f"nothing answers at {NOBODY}"
    assert found["mlflow"].remedy == "Start it, or correct tracking.uri or MLFLOW_TRACKING_URI."
    assert {check.state for check in found.values()} == {"fault"}


def test_servers_of_another_version_are_told_with_both_versions(looks):
    with server_of_version("2.0.1") as url:
        found = looks(url)
    for name in ("prefect", "mlflow"):
        assert found[name].state == "fault"
        assert "has version 2.0.1, the package here has " in found[name].message
        assert found[name].remedy.startswith(f"pip install {name}==2.0.1 here, or ")


@pytest.mark.parametrize(
    ("status", "name", "told", "remedy"),
    [
        (401, "prefect", "refuses the login, or requires one: it answers 401 at /admin/version", "AUTH_STRING"),
        (403, "mlflow", "refuses the login, or requires one: it answers 403 at /version", "TRACKING_PASSWORD"),
        (404, "prefect", "does not answer like prefect: 404 at /admin/version", "correct PREFECT_API_URL"),
        (502, "mlflow", "does not answer like mlflow: 502 at /version", "correct tracking.uri"),
    ],
)
def test_a_refused_login_is_told_from_another_refusal(looks, status, name, told, remedy):
    with server_of_version("", status) as url:
        found = looks(url)[name]
    assert found.state == "fault"
    assert told in found.message
    assert remedy in found.remedy
    assert ("login" in found.message + found.remedy) == (status in (401, 403))


@pytest.mark.parametrize(
    ("variables", "wants"),
    [
        ({"MLFLOW_TRACKING_USERNAME": "lead", "MLFLOW_TRACKING_PASSWORD": "secret"}, LOGIN),
        ({"MLFLOW_TRACKING_TOKEN": "a-token"}, "Bearer a-token"),
        ({}, None),
    ],
)
def test_mlflow_is_asked_with_the_login_of_the_environment(monkeypatch, variables, wants):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("flows.doctor.servers.version", lambda name: "3.0")
    with server_of_version("3.0", wants=wants) as url:
        (found,) = mlflow(tiny_params(f"tracking.uri={url}/"))
    assert found == Check("mlflow", "ok", f"{url}, version 3.0")
    with server_of_version("3.0", wants="Basic another") as url:
        (refused,) = mlflow(tiny_params(f"tracking.uri={url}"))
    assert "it answers 401 at /api/2.0/mlflow/experiments/search" in refused.message
    assert refused.remedy == "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to a login of this server."


def test_prefects_own_api_is_in_order_and_its_flow_run_without_a_process_is_a_fault(prefect_in_process):
    settings = {PREFECT_API_URL: prefect_in_process, PREFECT_API_AUTH_STRING: "lead:secret"}
    with temporary_settings(settings), get_client(sync_client=True) as client:
        made = client.create_flow_run(train_flow, parameters={"key": "0", "params": {}}, state=Running())
        client.update_flow_run(made.id, infrastructure_pid=str(GONE))
        client.update_flow_run_labels(made.id, {HOST: socket.gethostname()})
        there, lost = prefect()
        client.set_flow_run_state(made.id, Completed())
        assert list(prefect()) == [there]
    assert (there.name, there.state) == ("prefect", "ok")
    assert there.message.startswith(f"{prefect_in_process}, version 3.")
    assert (lost.name, lost.state) == (f"flow run {made.name}", "fault")
    assert lost.message == f"it is Running at Prefect, but its process, {GONE}, is gone"
    assert lost.remedy.startswith("Run `g2rpo up`")


def test_gated_weights_need_a_token_unless_the_hub_is_not_asked(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    params = load_params(ROOT / "presets/flux1-dev-hps.yaml")
    (warning,) = hub(params)
    assert (warning.name, warning.state) == ("hub", "warn")
    assert warning.message == "black-forest-labs/FLUX.1-dev may be gated, and no token of the model hub is set"
    assert "Accept the licence at https://huggingface.co/black-forest-labs/FLUX.1-dev" in warning.remedy
    assert "HF_TOKEN" in warning.remedy
    told = f"black-forest-labs/FLUX.1-dev at {params.policy.revision[:12]}, with a token"
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
        with monkeypatch.context() as environment:
            environment.setenv(name, "1")
            assert list(hub(params)) == [Check("hub", "ok", told)]
    assert list(hub(tiny_params())) == [Check("hub", "ok", "the base weights are not from a model hub")]
