import pytest
from damage import bring_to_the_end, linked_copy
from methods import METHODS
from rounds import first_round, new_run, run_round
from stages_by_hand import StagesByHand
from tiny import tiny_params

from stages.engine.loaded_models import LoadedModels
from stages.store.run import Run, open_run


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    """Each test has a store of its own."""
    monkeypatch.setenv("G2RPO_HOME", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def started():
    """A tiny run and what runs it, before its first stage."""
    return new_run(tiny_params())


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory):
    """A tiny run whose first round is done, and that no test may change."""
    return first_round(tmp_path_factory.mktemp("finished"), tiny_params())


@pytest.fixture
def finished(finished_once, store):
    """A copy of that run in the test's own store, and what runs it: a process that has not run it yet."""
    run, params, _ = finished_once
    return Run(linked_copy(run.path, store / "runs" / run.key)), params, LoadedModels(params)


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory):
    """Makes a tiny run of three rounds, evaluated after each; one for each set of parameters."""
    made = {}

    def make(*overrides):
        if overrides not in made:
            with pytest.MonkeyPatch.context() as environment:
                environment.setenv("G2RPO_HOME", str(tmp_path_factory.mktemp("trained")))
                made[overrides] = new_run(tiny_params("run.rounds=3", "retention.rounds=null", *overrides))
                bring_to_the_end(*made[overrides])
        return made[overrides]

    return make


@pytest.fixture
def undamaged(trained_once):
    """A tiny run of three rounds that no test may change."""
    return trained_once()[0]


@pytest.fixture
def copied(trained_once, store):
    """A copy of that run in the test's own store, and what runs it."""
    run, params, resources = trained_once()
    return Run(linked_copy(run.path, store / "runs" / run.key)), params, resources


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """As `trained_once`, in milliseconds: with stages that are done by hand."""
    made = {}

    def make(*overrides):
        if overrides not in made:
            with pytest.MonkeyPatch.context() as environment:
                environment.setenv("G2RPO_HOME", str(tmp_path_factory.mktemp("made")))
                params = tiny_params("run.rounds=3", "retention.rounds=null", *overrides)
                made[overrides] = open_run(params, device="cpu"), params, StagesByHand()
                bring_to_the_end(*made[overrides])
        return made[overrides]

    return make


@pytest.fixture
def whole(made_once):
    """A run of three rounds by hand that no test may change."""
    return made_once()[0]


@pytest.fixture
def copy_of(made_once, store):
    """Copies such a run into the test's own store; returns it, its parameters, and what does stages by hand."""

    def copy(*overrides):
        run, params, _ = made_once(*overrides)
        return Run(linked_copy(run.path, store / "runs" / run.key)), params, StagesByHand()

    return copy


@pytest.fixture
def linked(copy_of):
    """A copy of that run in the test's own store, its parameters, and what does stages by hand."""
    return copy_of()


@pytest.fixture(scope="session")
def of_method(tmp_path_factory):
    """Makes two rounds of a method of tests/support/methods.py; one run for each set of parameters."""
    made = {}

    def make(method, *overrides):
        if (method, *overrides) not in made:
            with pytest.MonkeyPatch.context() as environment:
                environment.setenv("G2RPO_HOME", str(tmp_path_factory.mktemp(method)))
                run, params, resources = new_run(tiny_params(*METHODS[method], *overrides))
                for number in range(2):
                    run_round(run, params, resources, number)
                    run.finish_round(number)
            made[method, *overrides] = run, params, resources
        return made[method, *overrides]

    return make
