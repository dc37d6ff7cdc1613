import pytest
from tiny import tiny_params

from stages.execute import run_stage
from stages.registry import ROUND_STAGES
from stages.resources import Resources
from stages.store import open_run


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    """Each test has a store of its own."""
    monkeypatch.setenv("G2RPO_HOME", str(tmp_path / "store"))
    return tmp_path / "store"


def new_run(params):
    resources = Resources(params)
    run = open_run(params, base_digest=resources.base_digest(), device="cpu", created={})
    return run, params, resources


def run_round(run, params, resources, number=0, stages=ROUND_STAGES, **how):
    return [run_stage(run, stage, number, params, resources, **how) for stage in stages]


@pytest.fixture
def started():
    """A tiny run and what runs it, before its first stage."""
    return new_run(tiny_params())


@pytest.fixture
def finished(started):
    """A tiny run whose first round is done."""
    run_round(*started)
    return started
