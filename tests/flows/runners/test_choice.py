import sys

import pytest
from tiny import tiny_params

from flows.runners.choice import at_work, executor_for
from flows.runners.ray_executor import RayExecutor
from stages.engine.loaded_models import LoadedModels

RAY = ("placement.runner=ray", "placement.num_runners=2")


def test_params_say_who_does_the_stages():
    assert isinstance(executor_for(tiny_params()), LoadedModels)
    assert isinstance(executor_for(tiny_params(*RAY)), RayExecutor)


def test_without_ray_its_runners_are_refused_with_a_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "flows.runners.ray_executor", None)
    with pytest.raises(ValueError, match=r"placement.runner: ray needs Ray, got .* set placement.runner to local"):
        executor_for(tiny_params(*RAY))


def test_runners_are_sent_home_whatever_happens():
    class StageExecutor:
        home = False

        def close(self):
            self.home = True

    first, second = StageExecutor(), StageExecutor()
    with at_work(first) as there:
        assert there is first
        assert not first.home
    with pytest.raises(RuntimeError, match="stage"), at_work(second):
        raise RuntimeError("stage")
    assert first.home
    assert second.home
