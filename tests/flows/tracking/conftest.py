import shutil
from types import SimpleNamespace

import pytest
from handmade import begun, finish, judge
from mlflow.tracking import MlflowClient


@pytest.fixture
def store(empty_mlflow, monkeypatch):
    """A store with an MLflow database in which there is nothing yet.

    It lies at one place for all tests, for MLflow looks through the tables of each new place, and keeps no connection.
    """
    folder = empty_mlflow.parent.parent / "store"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(empty_mlflow, folder)
    monkeypatch.setenv("G2RPO_HOME", str(folder))
    monkeypatch.setenv("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


@pytest.fixture
def tracked(store):
    """A run of two rounds, judged three times on tuning captions, that MLflow does not know yet."""
    run, params = begun()
    judge(run, params, 0, rule_soft=[0.25])
    for number, mean in ((1, 0.75), (2, 0.5)):
        finish(run, {"reward/judge_a/mean": mean / 2})
        judge(run, params, number, rule_soft=[mean])
    return SimpleNamespace(run=run, params=params, client=MlflowClient(f"sqlite:///{store / 'mlflow.db'}"))
