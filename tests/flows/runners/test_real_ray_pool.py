"""Real Ray actors that are late, die or cannot be made; and who is told that they were lost."""

import os
import time

import pytest
import ray
import torch
from rounds import new_run
from tiny import tiny_params

from flows.common.endings import RunnersLostError
from flows.runners.ray_cluster import start_here
from flows.runners.ray_pool import Budget, Pool
from flows.training.rollout_ahead import Ahead


@pytest.fixture(scope="module", autouse=True)
def cluster():
    start_here(2)
    yield
    ray.shutdown()


def pool_of(size, budget, *, broken=False):
    class Sleeper:  # within: Ray then sends it whole, the module is not to be found elsewhere
        def __init__(self):
            if broken:
                raise ValueError("weights are required, got none")

        def ready(self):
            return "here"

        def work(self, seconds):
            time.sleep(seconds)

        def die(self, once):
            if not os.path.exists(once):
                open(once, "x").close()
                os._exit(1)

    return Pool(lambda: ray.remote(Sleeper).options(num_cpus=1).remote(), size, budget, 60)


def worked(pool, *naps):
    """Tasks that sleep for so long, the first of them where an actor is free first."""
    seconds = iter(naps)
    tasks = [pool.submit("work", shard, lambda actor: actor.work.remote(next(seconds, 0.1))) for shard in range(8)]
    assert sorted(task.shard for task in pool.finished(tasks)) == list(range(8))
    return tasks


@pytest.mark.slow
def test_a_late_runners_shard_goes_to_another_and_it_is_started_anew(monkeypatch, capsys):
    monkeypatch.setattr("flows.runners.ray_pool._LEAST", 1.0)
    pool = pool_of(2, Budget(1))
    worked(pool)
    pool.drop(worked(pool, 600.0))
    assert "it was late with a shard that another one has finished" in capsys.readouterr().err
    worked(pool)
    pool.close()


@pytest.mark.slow
def test_a_runner_that_loads_models_is_not_late(monkeypatch, capsys):
    monkeypatch.setattr("flows.runners.ray_pool._LEAST", 0.1)
    pool = pool_of(2, Budget(0))
    pool.drop(worked(pool, 5.0))
    assert "late" not in capsys.readouterr().err
    pool.close()


@pytest.mark.slow
def test_a_pool_that_has_lost_too_many_says_so_and_is_whole_again(tmp_path):
    pool, once = pool_of(1, Budget(0)), str(tmp_path / "once")
    with pytest.raises(RunnersLostError, match=r"placement.max_restarts, got 1"):
        list(pool.finished([pool.submit("die", 0, lambda actor: actor.die.remote(once))]))
    worked(pool)
    pool.close()


def test_a_runner_that_cannot_be_made_is_told_with_its_reason():
    pool = pool_of(1, Budget(3), broken=True)
    with pytest.raises(RunnersLostError, match="one cannot start: ValueError: weights are required, got none"):
        worked(pool)
    pool.close()


@pytest.mark.parametrize("error", [RunnersLostError("too many"), ValueError("of one shard")])
def test_lost_runners_are_told_at_once_and_other_errors_in_their_turn(monkeypatch, tmp_path, error):
    class Failing:
        device = torch.device("cpu")

        def do(self, stage, job):
            raise error

    monkeypatch.setenv("G2RPO_HOME", str(tmp_path))
    run, params, _ = new_run(
        tiny_params(
            *("placement.runner=ray", "placement.num_runners=2", "placement.update_runners=1"),
            *("placement.staleness=1", "run.rounds=2"),
        )
    )
    ahead = Ahead(run, params, Failing())
    if isinstance(error, RunnersLostError):
        with pytest.raises(RunnersLostError, match="too many"), ahead.of(0):
            pass
    else:
        with ahead.of(0):
            pass
