import sys

import pytest
from tiny import tiny_params

from flows.runners.choice import at_work, runners
from flows.runners.ray_runners import RayRunners
from stages.engine.loaded_models import Resources

RAY = ("placement.runner=ray", "placement.num_runners=2")


def test_params_say_who_does_the_stages():
    assert isinstance(runners(tiny_params()), Resources)
    assert isinstance(runners(tiny_params(*RAY)), RayRunners)


def test_without_ray_its_runners_are_refused_with_a_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "flows.runners.ray_runners", None)
    with pytest.raises(ValueError, match=r"placement.runner: ray needs Ray, got .* set placement.runner to local"):
        runners(tiny_params(*RAY))


def test_runners_are_sent_home_whatever_happens():
    class Worker:
        home = False

        def close(self):
            self.home = True

    first, second = Worker(), Worker()
    with at_work(first) as there:
        assert there is first
        assert not first.home
    with pytest.raises(RuntimeError, match="stage"), at_work(second):
        raise RuntimeError("stage")
    assert first.home
    assert second.home
