import shutil

import pytest
from damage import bring_to_the_end, linked_copy
from handmade import begun, finish, judge
from rounds import new_run
from tiny import ROOT, tiny_params

from stages.store.run import Run


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    """Each test has a store of its own; no server is configured; the folder is the project's."""
    monkeypatch.setenv("G2RPO_HOME", str(tmp_path / "store"))
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(ROOT)
    return tmp_path / "store"


@pytest.fixture
def run():
    """A run whose two rounds are written by hand; the judges liked its first best."""
    run, params = begun()
    for number, mean in enumerate((0.25, 0.75, 0.5)):
        judge(run, params, number, rule_soft=[mean])
        if number < 2:
            finish(run, {"reward/judge_a/mean": 0.5 + 0.125 * number})
    return run


@pytest.fixture(scope="session")
def aligned(tmp_path_factory):
    """A tiny run that is done and judged, which no test may change."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("G2RPO_HOME", str(tmp_path_factory.mktemp("aligned")))
        run, params, resources = new_run(tiny_params())
        bring_to_the_end(run, params, resources)
    return run


@pytest.fixture
def whole(aligned, store):
    """A copy of that run in the test's own store."""
    return Run(linked_copy(aligned.path, store / "runs" / aligned.key))


@pytest.fixture
def mlflow(empty_mlflow, store):
    """An MLflow in the test's own store; where it is."""
    store.mkdir(exist_ok=True)
    shutil.copy(empty_mlflow, store)
    return f"sqlite:///{store / 'mlflow.db'}"
