"""A campaign of hostile inputs: some 3,000 in `make test`, always the same; 50,000 others in `make test-slow`.

HOSTILE_SEED repeats a long campaign, HOSTILE_INPUTS changes its length.
"""

import os

import pytest
from hostile import QUICK, Area, attack, outcome
from hostile_runs import StoredRun
from hypothesis import HealthCheck, Phase, settings
from hypothesis.configuration import set_hypothesis_home_dir
from tiny import ROOT

set_hypothesis_home_dir(ROOT / "build/hypothesis")  # its tables of characters; a campaign has another current folder
settings.register_profile(
    "hostile",
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
)


@pytest.fixture(scope="module")
def area(tmp_path_factory):
    return Area(tmp_path_factory.mktemp("area"))


@pytest.fixture(scope="session")
def stored(tmp_path_factory):
    """A tiny run of two rounds that no case may change."""
    return StoredRun.made(tmp_path_factory.mktemp("stored"))


@pytest.fixture(autouse=True)
def home(area, monkeypatch):
    """The store and the current folder lie where a campaign sees what changes; nothing reaches the user's own files."""
    monkeypatch.setenv("G2RPO_HOME", str(area.here / "store"))
    monkeypatch.setenv("HOME", str(area.here))
    monkeypatch.chdir(area.folder)


@pytest.fixture(params=["quick", pytest.param("long", marks=pytest.mark.slow)])
def campaign(request, area, record_property):
    """Holds inputs of a kind to the oracle: `quick` says how many `make test` tries; longer campaigns try more."""
    is_long = request.param == "long"
    factor = int(os.environ.get("HOSTILE_INPUTS", "50000")) / QUICK if is_long else 1
    seeded = int(os.environ["HOSTILE_SEED"]) if is_long else None

    def campaign(strategy, prepare, *, quick):
        """`prepare` puts a case into a folder and returns what the product does with it."""

        def meet(case):
            with area.case() as here:
                work = prepare(case, here)
                return outcome(work)

        counted = attack(strategy, meet, round(quick * factor), seeded)
        parts = ", ".join(f"{number} {name}" for name, number in sorted(counted.items()))
        record_property("hostile", f"{request.node.originalname} (seed {seeded}): {parts}")

    return campaign
