"""One training session: parameters checked, run opened and locked, observers called, the loop run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.console import ConsoleObserver
from flows.loop import StageCall, train
from flows.observers import Observer, Observers
from flows.provenance import git_state
from flows.tracking import MlflowObserver, require_tracking
from stages.evaluate import held_out
from stages.params import Params, for_report
from stages.params_file import parse_params
from stages.prompts import check_prompts
from stages.resources import Resources
from stages.store import Run, fingerprint, open_run


@dataclass(frozen=True)
class Session:
    """A run that is ready to go on, in this process."""

    params: Params
    resources: Resources
    run: Run

    @classmethod
    def of(cls, tree: Mapping[str, Any]) -> "Session":
        """Return the session of a tree of parameters, after every check that needs no computing.

        Raises:
            ValueError: If the parameters, the device, a reward, the base weights or the held-out prompts
                cannot be had; nothing has been started then.
        """
        params = parse_params(dict(tree))
        resources = Resources(params)
        resources.check_rewards({*params.score.rewards, *params.evaluate.rewards})
        held_out(params.evaluate)
        held_out(for_report(params).evaluate)
        check_prompts(params.prompts)
        require_tracking(params)
        run = open_run(
            params,
            base_digest=resources.base_digest(),
            device=resources.device.type,
            created=git_state(),
        )
        return cls(params, resources, run)

    def train(self, call: StageCall, observers: Sequence[Observer] = (), tags: Mapping[str, str] | None = None) -> str:
        """Bring the run to its number of rounds and return the id of its MLflow run.

        Args:
            call: How a stage is called.
            observers: Who watches beside the console and MLflow.
            tags: What MLflow is to know beside the git state.
        """
        commit = git_state()
        named = {f"g2rpo.{name}": value for name, value in commit.items()} | dict(tags or {})
        if "git_commit" in commit:
            named["mlflow.source.git.commit"] = commit["git_commit"]
        tracker = MlflowObserver(self.params, named)
        watching = Observers([ConsoleObserver(), tracker, *observers])
        with self.run.locked(), watching.watching(self.run, self.params.run.rounds):
            self.run.remember(self.params)
            train(self.run, self.params, self.resources, call, watching)
        return tracker.run_id


def open_stored(run: Run) -> Session:
    """Return a session on a run of the store, with the parameters that it was last started with.

    Raises:
        ValueError: If weights, device or version are no longer those that made the run.
    """
    params = run.params()
    resources = Resources(params)
    key = fingerprint(params, resources.base_digest(), resources.device.type)
    if key != run.key:
        raise ValueError(
            f"Run {run.key} goes on only with the weights, the kind of device and the version that made it, got "
            f"those of run {key}. Its run.json says what they were; `g2rpo train` starts a run with the present ones."
        )
    return Session(params, resources, run)


def as_typed(path: Path) -> str:
    """Return a path as a person would type it: relative to the current folder where it lies below."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
