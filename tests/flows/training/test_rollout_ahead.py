from types import SimpleNamespace

import pytest
from rounds import new_run
from tiny import tiny_params

from flows.common.endings import RunnersLostError
from flows.training.rollout_ahead import Ahead
from stages.contract.declared_stages import ROUND_STAGES
from stages.engine.execute import is_done

STALE = ("placement.runner=ray", "placement.num_runners=2", "placement.update_runners=1", "placement.staleness=1")

pytestmark = pytest.mark.usefixtures("own_store")


class Lost:
    """An executor that cannot do the work it is given."""

    device = SimpleNamespace(type="cpu")

    def __init__(self, error):
        self.error, self.asked = error, []

    def do(self, stage, job):
        self.asked.append((stage.name, job.round_number))
        raise self.error


def ahead_of(number, executor, *overrides):
    """The stages that an executor was asked for while round `number` updated."""
    params = tiny_params(*overrides)
    run, *_ = new_run(tiny_params(*overrides))
    with Ahead(run, params, executor).of(number):
        pass
    return executor.asked


def test_while_a_round_updates_all_of_the_next_but_its_update_is_done():
    run, params, resources = new_run(tiny_params(*STALE))
    with Ahead(run, params, resources).of(0):
        pass
    assert all(is_done(run, stage, 1, params) for stage in ROUND_STAGES[:-1])
    assert not (run.round_folder(1) / "update.json").exists()
    assert not run.round_folder(2).exists()


def test_what_goes_wrong_ahead_is_told_in_its_turn():
    assert ahead_of(0, Lost(ValueError("no such prompt")), *STALE) == [("prompts", 1)]


def test_too_many_lost_runners_are_told_at_once():
    with pytest.raises(RunnersLostError, match="all are gone"):
        ahead_of(0, Lost(RunnersLostError("all are gone")), *STALE)


def test_nothing_is_done_ahead_of_the_last_round_or_without_staleness():
    assert ahead_of(1, Lost(RunnersLostError()), *STALE) == []
    assert ahead_of(0, Lost(RunnersLostError()), "placement.staleness=0") == []
