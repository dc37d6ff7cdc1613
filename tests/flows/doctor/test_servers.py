"""Servers of the loopback that answer as they are told to, and Prefect's own API."""

import json
import socket
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import psutil
import pytest
from http_here import answering
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Running
from processes import GONE
from tiny import ROOT, tiny_params

from flows.common.login import authorization, store_login
from flows.common.private import write_private
from flows.doctor.check import Check
from flows.doctor.servers import hub, mlflow, prefect
from flows.prefect_flows.train import train_flow
from flows.services.zombies import HOST
from stages.params.file import load_params

NOBODY = "http://127.0.0.1:9"
SILENT = "got no answer: Connection refused"
LOGIN = "Basic bGVhZDpzZWNyZXQ="
"""The header for lead:secret."""


@contextmanager
def server_of_version(version, status=200, *, data=None, wants=None, open_to=("version",)):
    """A server that tells a version to everybody, and its data to those with a header alone, if it wants one."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            refused = (
                wants and not any(path in self.path for path in open_to) and self.headers["Authorization"] != wants
            )
            self.send_response(401 if refused else status)
            self.end_headers()
            told = json.dumps(version if "version" in self.path else data)
            self.wfile.write((told if not refused else "You are not authenticated.").encode())

        def log_message(self, *words):
            pass

    with answering(Answers) as url:
        yield url


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
    write_private(store / "services" / "prefect.json", json.dumps(about))
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert next(prefect()).message == f"the Prefect API must answer at {NOBODY}/api, {SILENT}"


def test_the_server_of_up_is_asked_with_the_login_of_the_store_and_no_other_server_is(store, monkeypatch):
    login, own = authorization(_store_login(store)), psutil.Process()
    monkeypatch.setattr("flows.doctor.servers.version", lambda name: "3.0")
    monkeypatch.setattr("flows.doctor.servers._zombies", lambda servers: iter([]))
    with (
        server_of_version("3.0", wants=login, open_to=()) as url,
        server_of_version("3.0", wants=login, open_to=()) as other,
    ):
        about = {"name": "prefect", "pid": own.pid, "url": url, "log": "", "started_at": own.create_time()}
        write_private(store / "services" / "prefect.json", json.dumps(about))
        with temporary_settings(restore_defaults={PREFECT_API_URL}):
            assert [check.state for check in prefect()] == ["ok"]
        with temporary_settings({PREFECT_API_URL: f"{other}/api"}):
            assert "refuses the login, or requires one" in next(prefect()).message


def _store_login(store):
    (store / "services").mkdir(parents=True)
    return store_login()


def test_no_password_in_an_address_is_shown(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://lead:secret@db/mlflow")
    (check,) = mlflow(tiny_params())  # there is no such database
    assert "postgresql://***@db/mlflow" in check.message
    assert "secret" not in check.message


def test_servers_that_do_not_answer_are_told_with_what_to_correct(looks):
    found = looks(NOBODY)
    assert found["prefect"].message == f"the Prefect API must answer at {NOBODY}/api, {SILENT}"
    assert found["prefect"].remedy.startswith("Start it, correct PREFECT_API_URL, which ends with /api, or unset it")
    assert found["mlflow"].message == f"the MLflow server must answer at {NOBODY}, {SILENT}"
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
        (401, "prefect", "401 at /admin/version: it refuses the login, or requires one", "AUTH_STRING"),
        (403, "mlflow", "403 at /version: it refuses the login, or requires one", "TRACKING_PASSWORD"),
        (404, "prefect", "404 and no version of prefect at /admin/version", "correct PREFECT_API_URL"),
        (502, "mlflow", "502 and no version of mlflow at /version", "correct tracking.uri"),
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
    experiment = {"experiment": {"experiment_id": "1", "name": "g2rpo", "artifact_location": "mlflow-artifacts:/1"}}
    with server_of_version("3.0", data=experiment, wants=wants) as url:
        (found,) = mlflow(tiny_params(f"tracking.uri={url}/"))
    assert found == Check("mlflow", "ok", f"{url}, version 3.0")
    with server_of_version("3.0", wants="Basic another") as url:
        (refused,) = mlflow(tiny_params(f"tracking.uri={url}"))
    assert f"MLflow must be able to record the run at {url}, got: " in refused.message
    assert refused.remedy.startswith("Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to a login of this")


@pytest.mark.parametrize(
    ("experiment", "state", "told", "remedy"),
    [
        ({"lifecycle_stage": "deleted"}, "fault", "must be active at {url}, got deleted", "mlflow experiments restore"),
        ({"artifact_location": "/dev/null/x"}, "fault", "in /dev/null/x must be writable", "Make the folder so"),
    ],
)
def test_an_experiment_that_can_record_nothing_is_told(monkeypatch, experiment, state, told, remedy):
    monkeypatch.setattr("flows.doctor.servers.version", lambda name: "3.0")
    whole = {"experiment_id": "1", "name": "g2rpo", "artifact_location": "mlflow-artifacts:/1"} | experiment
    with server_of_version("3.0", data={"experiment": whole}) as url:
        (found,) = mlflow(tiny_params(f"tracking.uri={url}"))
    assert (found.name, found.state) == ("mlflow", state)
    assert told.format(url=url) in found.message
    assert remedy in found.remedy


def test_pictures_that_a_moved_store_has_left_behind_are_a_warning(monkeypatch):
    told = "the store has moved: set tracking.experiment"
    monkeypatch.setattr("flows.tracking.recordable.require_experiment", lambda params: told)
    fine, warning = mlflow(tiny_params())
    assert (fine.state, warning) == ("ok", Check("mlflow", "warn", *told.split(": ")))


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
