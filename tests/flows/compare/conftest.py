import pytest
from unrendered import leave_unrendered
from whole_runs import measured_by_hand


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    """Each test has a store of its own."""
    monkeypatch.setenv("G2RPO_HOME", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def figures(monkeypatch):
    """The figures that a test draws, by name."""
    return leave_unrendered(monkeypatch)


@pytest.fixture(scope="session")
def by_hand(tmp_path_factory):
    """Makes a plan and its measured runs, which no test may change; once for each set of changes to the plan."""
    made = {}

    def make(**changes):
        if repr(changes) not in made:
            made[repr(changes)] = measured_by_hand(tmp_path_factory.mktemp("plan"), **changes)
        return made[repr(changes)]

    return make
