import pytest


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    """A store of the test's own, and nothing configured in the environment."""
    monkeypatch.setenv("G2RPO_HOME", str(tmp_path / "store"))
    mlflow = (f"MLFLOW_TRACKING_{name}" for name in ("URI", "USERNAME", "PASSWORD", "TOKEN"))
    for name in ("PREFECT_API_URL", "HF_TOKEN", "HF_HUB_OFFLINE", *mlflow):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "store"
