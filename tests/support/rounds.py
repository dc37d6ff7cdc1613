"""Runs and rounds made in this process, without the flow."""

import pytest

from stages.contract.declared_stages import ROUND_STAGES
from stages.engine.execute import run_stage
from stages.engine.loaded_models import LoadedModels
from stages.readings.best_round import best_round
from stages.store.run import open_run


def judged_finally(run):
    """Rounds whose policies the final evaluation judges: base, best and last, of which the best may be either."""
    params = run.params()
    return sorted({0, best_round(run, params), params.run.rounds})


def new_run(params, device="cpu"):
    """A run of these parameters in the test's own store, and what runs it."""
    resources = LoadedModels(params)
    return open_run(params, device=device), params, resources


def run_round(run, params, resources, number=0, **how):
    return [run_stage(run, stage, number, params, resources, **how) for stage in ROUND_STAGES]


def first_round(folder, params):
    """A run in a store of its own whose first round is done, its parameters, and what did it."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("G2RPO_HOME", str(folder))
        made = new_run(params)
        run_round(*made)
    return made
