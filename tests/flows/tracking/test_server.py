import os
import shutil

import mlflow.server
import pytest
from starlette.testclient import TestClient

from flows.common.login import store_login
from flows.tracking.server import _settings, app

pytestmark = pytest.mark.filterwarnings("ignore:starlette.middleware.wsgi is deprecated")

SEARCH, CREATE = "/api/2.0/mlflow/experiments/search?max_results=1", "/ajax-api/2.0/mlflow/experiments/create"


@pytest.fixture
def database(own_store, empty_mlflow, monkeypatch):
    """MLflow's file of a store that has a folder of services."""
    (own_store / "services").mkdir(parents=True)
    shutil.copy(empty_mlflow, own_store)
    uri = f"sqlite:///{own_store / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for name in _settings(uri):
        monkeypatch.setenv(name, "")  # so that it is undone
    return uri


def test_mlflow_tells_nobody_anything_without_the_login_and_no_page_of_another_port_with_it(database):
    name, _, password = store_login().partition(":")
    client = TestClient(app(), base_url="http://127.0.0.1:5000")
    assert client.get("/health").status_code == 200
    for path in ("/", "/version", SEARCH, "/get-artifact", "/ajax-api/3.0/mlflow/assistant/config"):
        assert client.get(path).status_code == 401
    client.auth = (name, password)
    for told in ({"Origin": "http://evil.example"}, {"Origin": "http://127.0.0.1:9"}, {"Host": "evil.example"}):
        assert client.post(CREATE, json={"name": "planted"}, headers=told).status_code == 403
    own = {"Origin": "http://127.0.0.1:5000"}
    assert client.post(CREATE, json={"name": "mine"}, headers=own).status_code == 200
    found = client.get("/api/2.0/mlflow/experiments/search?max_results=9").json()["experiments"]
    assert sorted(one["name"] for one in found) == ["Default", "mine"]


def test_a_store_without_a_login_is_not_served(database):
    with pytest.raises(ValueError, match="A login is required to serve MLflow, got none. Run `g2rpo up`"):
        app()


def test_the_application_gets_the_variables_that_mlflow_server_sets(database, own_store, monkeypatch):
    """A later MLflow may keep its server from more by another variable."""
    given = {}

    class StartedError(Exception):
        pass

    def exec_cmd(command, extra_env, **_):
        given.update(extra_env)
        raise StartedError

    monkeypatch.setattr(mlflow.server, "_exec_cmd", exec_cmd)
    monkeypatch.setenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    for name in _settings(database):
        monkeypatch.delenv(name)
    with pytest.raises(StartedError):
        mlflow.server._run_server(
            file_store_path=database,
            registry_store_uri=database,
            default_artifact_root="mlflow-artifacts:/",
            serve_artifacts=True,
            artifacts_only=False,
            artifacts_destination=str(own_store / "mlartifacts"),
            host="127.0.0.1",
            port=5000,
        )
    assert "_MLFLOW_SERVER_BOOT_ID" not in os.environ
    own, boot = _settings(database), "_MLFLOW_SERVER_BOOT_ID"
    assert own.pop(boot) != given.pop(boot)
    assert own == given
