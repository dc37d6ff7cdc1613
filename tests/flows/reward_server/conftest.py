"""What each test of the reward server needs."""

import pytest
from lengths_reward import lengths_server

from flows.reward_server import scoring


@pytest.fixture(autouse=True)
def its_log_is_on(monkeypatch):
    """MLflow's migrations, which other tests of this process run, disable the loggers that they find."""
    monkeypatch.setattr(scoring._LOG, "disabled", False)


@pytest.fixture(scope="module")
def server():
    """A server of a reward of a test file's own."""
    with lengths_server() as server:
        yield server


@pytest.fixture
def lengths(server):
    """The server, and its reward as new."""
    server.reward.renew()
    return server
