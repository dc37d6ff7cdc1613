import signal
from types import SimpleNamespace

import pytest
from ray_here import RayHere

_LONGEST = 30.0  # seconds of computing, not of waiting, after which a loop has no end


@pytest.fixture
def here(monkeypatch):
    """Ray within this process, in the place of the real one; a loop that never ends fails."""
    ray = RayHere(CPU=4.0)
    for module in ("ray_actor", "ray_cluster", "ray_group", "ray_pool"):
        monkeypatch.setattr(f"flows.runners.{module}.ray", ray)
    monkeypatch.setattr("flows.runners.ray_pool.time", SimpleNamespace(monotonic=lambda: ray.now))
    before = signal.signal(signal.SIGVTALRM, _ended)
    signal.setitimer(signal.ITIMER_VIRTUAL, _LONGEST)
    yield ray
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, before)


def _ended(number, frame):
    raise TimeoutError(f"no end within {_LONGEST:.0f} s of computing")
