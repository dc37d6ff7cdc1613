import gc
import warnings
from dataclasses import dataclass, field

import pytest
import requests
from prefect.events.clients import AssertingEventsClient
from prefect.events.worker import EventsWorker
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_LOGGING_TO_API_ENABLED,
    temporary_settings,
)

from flows.training.session import Session


@dataclass
class Api:
    """Prefect's API, and what it has been told."""

    url: str

    def flow_runs(self):
        """Flow runs, the newest first."""
        asked = {"sort": "START_TIME_DESC", "limit": 5}
        return requests.post(f"{self.url}/flow_runs/filter", json=asked, timeout=60).json()

    def artifact(self, key):
        """The data of the newest artifact of a key."""
        found = requests.get(f"{self.url}/artifacts/{key}/latest", timeout=60)
        assert found.status_code == 200, found.text
        return found.json()["data"]


@pytest.fixture
def api(prefect_in_process):
    """Prefect's API in this process, as the one in use; events are kept by the client."""
    EventsWorker.set_client_override(AssertingEventsClient)
    quiet = {PREFECT_LOGGING_TO_API_ENABLED: False, PREFECT_CLIENT_MAX_RETRIES: 0}
    with temporary_settings({PREFECT_API_URL: prefect_in_process} | quiet):
        yield Api(prefect_in_process)
    EventsWorker.drain_all()
    AssertingEventsClient.reset()


@pytest.fixture(scope="module")
def clients_left():
    """Prefect leaves some clients open; they are collected at the end of the module, where that is no error."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@dataclass
class Told:
    """What sessions were told when they should train, and how they end: by these errors, then well."""

    ends: list = field(default_factory=list)
    words: list = field(default_factory=list)

    def train(self, session, call, **how):
        self.words.append({"params": session.params, "key": session.run.key, "call": call} | how)
        if self.ends:
            raise self.ends.pop(0)
        return session.run


@pytest.fixture
def told(monkeypatch):
    """Sessions are real, but train no round."""
    told = Told()

    def train(session, call, **how):
        return told.train(session, call, **how)

    monkeypatch.setattr(Session, "train", train)
    return told


@pytest.fixture
def no_api():
    """No Prefect API is configured."""
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        yield
