"""MLflow's SQLite file, created whole or not at all."""

import sqlite3

from mlflow.tracking import MlflowClient

from flows.tracking.database import make_database


def test_the_file_is_made_with_its_folder_and_nothing_half_made_stays_beside_it(empty_mlflow):
    assert sorted(path.name for path in empty_mlflow.parent.iterdir()) == [".mlflow.db.lock", "mlflow.db"]
    experiments = MlflowClient(tracking_uri=f"sqlite:///{empty_mlflow}").search_experiments()
    assert [experiment.name for experiment in experiments] == ["Default"]


def test_a_file_that_is_there_is_left_alone(tmp_path):
    path = tmp_path / "mlflow.db"
    path.write_bytes(b"somebody's runs")
    make_database(f"sqlite:///{path}")
    assert path.read_bytes() == b"somebody's runs"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_kill_left_half_made_is_cleared_away_and_a_whole_file_kept(tmp_path):
    path, making = tmp_path / "mlflow.db", tmp_path / ".mlflow.db.tmp"
    path.write_bytes(b"somebody's runs")
    making.mkdir()
    (making / "mlflow.db").write_bytes(b"half")
    make_database(f"sqlite:///{path}?timeout=30")
    assert path.read_bytes() == b"somebody's runs"
    assert not making.exists()


def test_a_database_of_another_kind_is_made_by_its_server(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for uri in ("http://127.0.0.1:9", "postgresql://mlflow@127.0.0.1/mlflow", "file:///nowhere"):
        make_database(uri)
    assert list(tmp_path.iterdir()) == []


def test_the_file_has_the_tables_of_this_mlflow(empty_mlflow):
    with sqlite3.connect(empty_mlflow) as connection:
        tables = {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}
    connection.close()
    assert {"runs", "metrics", "params", "tags", "experiments", "alembic_version"} <= tables
