import shutil
import sqlite3
from contextlib import closing

import pytest
from command_line import CommandLine
from once import made_once
from prefect_here import prefect_here
from services import Up

from flows.prefect_flows.own_server import prefect_server
from flows.tracking.database import make_database

ARTIFACTS = (("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location"))
"""Where MLflow's database has absolute paths."""


@pytest.fixture
def g2rpo(tmp_path):
    return CommandLine(tmp_path / "store")


@pytest.fixture
def own_store(tmp_path, monkeypatch):
    """A store of the test's own, for calls in this process."""
    monkeypatch.setenv("G2RPO_HOME", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A tiny run, trained once by plain calls; a copy of it for each process of the session."""
    once = made_once(tmp_path_factory, "trained", lambda store: CommandLine(store).train())
    own = tmp_path_factory.mktemp("plain") / "store"
    shutil.copytree(once, own)
    with closing(sqlite3.connect(own / "mlflow.db")) as database, database:  # its pictures are its own
        for table, column in ARTIFACTS:
            database.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(once), str(own)))
    return CommandLine(own)


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory):
    """The variables that name a real Prefect server on the loopback, and log in there."""
    with prefect_server(tmp_path_factory.mktemp("prefect") / "home") as variables:
        yield variables


@pytest.fixture(scope="session")
def prefect_in_process(tmp_path_factory):
    """Prefect's API in a thread of this process: no schedule and no automation fires there."""
    with prefect_here(tmp_path_factory.mktemp("prefect-here")) as url:
        yield url


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory):
    """MLflow's SQLite file, as `make_database` makes it; the seconds that it takes are spent once."""
    path = tmp_path_factory.mktemp("database") / "nested" / "mlflow.db"
    make_database(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    """What `g2rpo up` starts, in a store of the module's own."""
    servers = Up(CommandLine(tmp_path_factory.mktemp("up") / "store"))
    yield servers
    servers.g2rpo("down")
