"""What each test of the reward server needs."""

import pytest

from flows.reward_server import scoring


@pytest.fixture(autouse=True)
def its_log_is_on(monkeypatch):
    """MLflow's migrations, which other tests of this process run, disable the loggers that they find."""
    monkeypatch.setattr(scoring._LOG, "disabled", False)
