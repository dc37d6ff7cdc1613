import pytest
from command_line import CommandLine
from services import Up

from flows.prefect_flows.own_server import prefect_server


@pytest.fixture
def g2rpo(tmp_path):
    return CommandLine(tmp_path / "store")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A tiny run, trained once by plain calls."""
    command = CommandLine(tmp_path_factory.mktemp("plain") / "store")
    command.train()
    return command


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory):
    """A real Prefect server on the loopback."""
    with prefect_server(tmp_path_factory.mktemp("prefect") / "home") as url:
        yield url


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    """What `g2rpo up` starts, in a store of the module's own."""
    servers = Up(CommandLine(tmp_path_factory.mktemp("up") / "store"))
    yield servers
    servers.g2rpo("down")
