import shutil
from dataclasses import dataclass, field
from typing import Any

import pytest
from damage import linked_copy
from rounds import new_run
from tiny import tiny_params

from flows.guards.watch import Guards
from flows.observers.observer import Observers
from flows.training.loop import Loop
from stages.engine.loaded_models import LoadedModels
from stages.params.record import Params
from stages.store.run import Run


@dataclass
class Watched:
    """A run whose loop tells what it does: stage calls with whether they were skipped, and what observers hear."""

    run: Run
    params: Params
    executor: LoadedModels
    calls: list[tuple[str, int, bool]] = field(default_factory=list)
    told: list[tuple[Any, ...]] = field(default_factory=list)

    def loop(self, params=None, *, call=None):
        """The loop of the run; `call` takes the place of what notes the stage calls."""
        params = params or self.params
        return Loop(self.run, params, self.executor, call or self.call, Observers([self]), Guards(self.run, params))

    def with_params(self, *overrides):
        """Its parameters, others in their place."""
        return tiny_params(*OF_THE_RUN, *overrides)

    def call(self, name, number, work):
        done = work()
        self.calls.append((name, number, done.skipped))
        return done

    def watch(self, run, num_rounds):
        self.told.append(("watch", num_rounds))

    def stage_started(self, stage, number):
        self.told.append((stage, number))

    def round_finished(self, number, metrics):
        self.told.append(("round", number, metrics["round"]))

    def evaluated(self, judged):
        self.told.append(("evaluated", judged.policy_round, judged.split))

    def guarded(self, finding):
        self.told.append(("guarded", finding.guard, finding.action))

    def close(self, ending):
        self.told.append(("close", ending))


OF_THE_RUN = ("evaluate.every=2", "retention.rounds=null")


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A tiny run of two rounds, judged on the tuning captions before and after them; no test may change it."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("G2RPO_HOME", str(tmp_path_factory.mktemp("made")))
        made = Watched(*new_run(tiny_params(*OF_THE_RUN)))
        made.loop().train()
        made.loop().evaluate_finally()
    return made


@pytest.fixture
def again(made, own_store):
    """A copy of that run in the test's own store, with the same loaded models."""
    copy = Run(linked_copy(made.run.path, own_store / "runs" / made.run.key))
    return Watched(copy, made.params, made.executor)


@pytest.fixture
def tracked(own_store, empty_mlflow, monkeypatch):
    """The test's own store, with an MLflow file of its own."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    own_store.mkdir(exist_ok=True)
    shutil.copy(empty_mlflow, own_store / "mlflow.db")
    return own_store
