import pytest
from rounds import new_run, run_round
from tiny import tiny_params


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    """Each test has a store of its own."""
    monkeypatch.setenv("G2RPO_HOME", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def started():
    """A tiny run and what runs it, before its first stage."""
    return new_run(tiny_params())


@pytest.fixture
def finished(started):
    """A tiny run whose first round is done."""
    run_round(*started)
    return started
