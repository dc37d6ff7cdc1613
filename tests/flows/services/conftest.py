import sys

import pytest
from stand_ins import write_stand_in


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store of the test's own, and no server configured in the environment."""
    monkeypatch.setenv("G2RPO_HOME", str(tmp_path / "store"))
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "store"


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Has the commands of Prefect and MLflow answered by tests/support/stand_ins.py; the file of what they were."""
    monkeypatch.setattr(sys, "executable", str(write_stand_in(tmp_path)))
    return tmp_path / "commands.jsonl"
