import json
import os
import sqlite3
import uuid
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace

import http_here
import pytest
from handmade import begun
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import UNAUTHENTICATED
from mlflow.tracking import MlflowClient
from reward_servers import reply, scripted
from sqlalchemy.exc import OperationalError
from tiny import tiny_params
from waiting import in_place_of_sleep

from flows.common.servers import ServerError
from flows.tracking.observer import MlflowObserver
from flows.tracking.recordable import (
    answering,
    artifact_home,
    require_mlflow,
    require_place,
    require_tracking,
    tracking_uri,
)

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def client(store):
    return MlflowClient(tracking_uri=f"sqlite:///{store / 'mlflow.db'}")


def test_params_then_the_environment_then_the_store_say_where_mlflow_is(own_store, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri(tiny_params()) == f"sqlite:///{own_store / 'mlflow.db'}"
    assert artifact_home() == own_store / "mlartifacts"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://judge:5000")
    assert tracking_uri(tiny_params()) == "http://judge:5000"
    assert tracking_uri(tiny_params("tracking.uri=http://other:5000")) == "http://other:5000"


def test_a_server_that_does_not_answer_is_refused():
    with pytest.raises(ServerError, match=rf"^the MLflow server must answer at {NOBODY}, got no answer: Connection"):
        require_tracking(tiny_params(f"tracking.uri={NOBODY}/"))


def test_a_database_that_nobody_serves_is_refused_at_once(monkeypatch):
    in_place_of_sleep(monkeypatch, lambda seconds: pytest.fail("MLflow tries again and again"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://lead:secret@127.0.0.1:9/mlflow")
    with pytest.raises(ServerError, match=r"at postgresql://\*\*\*@127\.0\.0\.1:9/mlflow, got: .*Connection refused"):
        require_tracking(tiny_params())


@pytest.mark.parametrize(
    ("variables", "header"),
    [
        ({"USERNAME": "lead", "PASSWORD": "secret"}, "Basic bGVhZDpzZWNyZXQ="),
        ({"TOKEN": "a-token"}, "Bearer a-token"),
        ({}, None),
    ],
)
def test_a_server_is_asked_with_the_login_of_the_environment(monkeypatch, variables, header):
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    with scripted(reply(b"3.17.1")) as server:
        assert require_mlflow(f"{server.url}/") == "3.17.1"
        assert (server.asked[0].path, server.asked[0].headers.get("Authorization")) == ("/version", header)


def test_a_login_that_the_server_refuses_only_for_its_data_is_refused_before_a_run():
    with scripted(reply(b"3.17.1"), reply({"error_code": "PERMISSION_DENIED"}, status=403)) as server:
        with pytest.raises(
            ValueError, match="got: PERMISSION_DENIED.*MLFLOW_TRACKING_PASSWORD to a login of this server; then"
        ):
            require_tracking(tiny_params(f"tracking.uri={server.url}"))
        assert len(server.asked) == 2


def test_a_database_that_is_not_there_yet_needs_a_place_and_nothing_is_made(own_store):
    assert require_tracking(tiny_params()) == ""
    assert not own_store.exists()
    with pytest.raises(ValueError, match="The database of MLflow at /dev/null/mlflow.db must be writable, got no perm"):
        require_tracking(tiny_params("tracking.uri=sqlite:////dev/null/mlflow.db"))


def test_a_database_of_somebody_else_is_refused(store, monkeypatch):
    access = os.access
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name != "mlflow.db" and access(path, mode))
    with pytest.raises(ValueError, match=r"mlflow.db must be writable, got no permission .* Make it so, or correct"):
        require_tracking(tiny_params())


def test_an_experiment_that_was_deleted_is_refused_with_the_command_that_restores_it(store, client):
    made = client.create_experiment("g2rpo")
    client.delete_experiment(made)
    with pytest.raises(ValueError, match=f"'g2rpo' must be active .* restore --experiment-id {made}` with this"):
        require_tracking(tiny_params())
    assert require_tracking(tiny_params("tracking.experiment=another")) == ""


def test_artifacts_of_somebody_else_are_refused(store, client):
    client.create_experiment("g2rpo", artifact_location="file:///dev/null/of%20others")
    told = "The artifacts of the MLflow experiment 'g2rpo' in /dev/null/of others must be writable, got no permission"
    with pytest.raises(ValueError, match=f"{told} to write to /dev/null. Make the folder so, or set"):
        require_tracking(tiny_params())


def test_artifacts_that_a_moved_store_has_left_behind_are_warned_of(store, client):
    client.create_experiment("g2rpo", artifact_location=artifact_home().as_uri())
    assert require_tracking(tiny_params()) == ""
    with closing(sqlite3.connect(store / "mlflow.db")) as database, database:
        database.execute("UPDATE experiments SET artifact_location = ?", (f"file://{store.parent}/before/mlartifacts",))
    warning = require_tracking(tiny_params())
    pictures = f"the pictures of the experiment 'g2rpo' in {store.parent}/before/mlartifacts: "
    assert warning.startswith(f"the store has moved, but MLflow keeps {pictures}")
    assert warning.endswith(": set tracking.experiment to another name to keep those of new runs in the store")


def test_artifacts_behind_a_server_or_a_bucket_are_left_to_it(store, client):
    client.create_experiment("g2rpo", artifact_location="s3://bucket/g2rpo")
    assert require_tracking(tiny_params()) == ""


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (OSError(28, "No space left on device"), "Make room"),
        (OperationalError("", {}, Exception("database or disk is full")), "Make room"),
        (MlflowException("refused", error_code=UNAUTHENTICATED), "Set MLFLOW_TRACKING_USERNAME and"),
        (OperationalError("", {}, Exception("attempt to write a readonly database")), "Make its files"),
        (PermissionError(13, "Permission denied"), "Make its files and their folder writable"),
        (ModuleNotFoundError("No module named 'psycopg2'"), "Install what this kind of database needs"),
        (MlflowException("no such run\nmore"), "Start it, or correct tracking.uri or MLFLOW_TRACKING_URI"),
        (MlflowException(""), "Start it"),
    ],
)
def test_an_mlflow_that_cannot_record_is_told_with_a_remedy_for_the_cause(error, remedy):
    with pytest.raises(ValueError) as refused, answering("postgresql://me:secret@host/runs"):
        raise error
    told = str(refused.value)
    assert told.startswith("MLflow must be able to record the run at postgresql://***@host/runs, got: ")
    assert f". {remedy}" in told
    assert told.endswith("; then run the same command again. Nothing is lost.")
    assert "more" not in told


def test_an_error_of_our_own_is_not_taken_for_mlflows():
    with pytest.raises(KeyError), answering(NOBODY):
        raise KeyError("ours")


def test_a_server_that_names_a_folder_of_this_machine_for_artifacts_writes_none_of_its_files(own_store, tmp_path):
    mine = tmp_path / "params.yaml"
    mine.write_text("mine", encoding="utf-8")
    run, params = begun()
    for place in (tmp_path.as_uri(), str(tmp_path), f"{own_store.as_uri()}/mlartifacts/../../x", "ftp://10.0.0.9/x"):
        with http_here.answering(mlflow_that_keeps_artifacts_in(place)) as uri:
            observer = MlflowObserver(params.with_values({"tracking.uri": uri}))
            with pytest.raises(ValueError, match="must keep artifacts itself or in a bucket, got the place '") as told:
                observer.show(run)
        assert place in str(told.value)
        assert [path.name for path in tmp_path.iterdir() if path != own_store] == ["params.yaml"]
        assert mine.read_text(encoding="utf-8") == "mine"


def test_a_server_may_keep_artifacts_itself_in_a_bucket_or_in_this_store(own_store, monkeypatch):
    client = MlflowClient("http://127.0.0.1:9")
    for number, place in enumerate(("mlflow-artifacts:/0/1", "http://10.0.0.9/x", (artifact_home() / "1").as_uri())):
        info = SimpleNamespace(info=SimpleNamespace(artifact_uri=place))
        monkeypatch.setattr(client._tracking_client, "get_run", lambda _, found=info: found)
        require_place(client, "http://127.0.0.1:9", f"run {number}")
    require_place(client, "sqlite:////any/where.db", "not asked")


def mlflow_that_keeps_artifacts_in(place):
    """A class of http.server that answers as MLflow to the first who logs a run."""
    key = uuid.uuid4().hex  # MLflow's client remembers the place of a run
    run = {"info": {"run_id": key, "run_uuid": key, "artifact_uri": place, "experiment_id": "0"}, "data": {}}
    experiment = {"experiment_id": "0", "name": "g2rpo", "artifact_location": place, "lifecycle_stage": "active"}

    class Hostile(BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked = self.path.partition("?")[0].rpartition("/mlflow/")[2]
            known = {"experiments/get-by-name": {"experiment": experiment}, "runs/get": {"run": run}}
            body = json.dumps((known | {"runs/create": {"run": run}}).get(asked, {})).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            self.do_GET()

        def log_message(self, *_):
            pass

    return Hostile
