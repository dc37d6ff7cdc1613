"""One training session: parameters checked, run opened, locked and verified, observers called, the loop run."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flows.guards.finding import Finding, TrippedError
from flows.guards.watch import Guards
from flows.observers.console import ConsoleObserver
from flows.observers.observer import Observer, Observers
from flows.observers.run_log import LogObserver
from flows.runners.choice import at_work, executor_for
from flows.tracking.observer import MlflowObserver, require_tracking
from flows.training.guard_ending import ended
from flows.training.loop import Loop, StageCall
from flows.training.provenance import origin_links, versions
from flows.training.stop_request import forget_request
from stages.contract.executor import StageExecutor
from stages.integrity.resume import resume
from stages.params.record import Params, for_report
from stages.readings.best_round import best_round
from stages.sources.rewards import check_names, check_rewards
from stages.store.child_run import begin_child, child_params
from stages.store.fingerprint import Fingerprint
from stages.store.lock import locked
from stages.store.run import Run, open_run
from stages.store.transfer import adopt, is_run, link_out
from stages.texts.draws import check_prompts, drawn_texts
from stages.texts.held_out import held_out
from stages.texts.lists import with_prompts

EXPORTED = Path("outputs/run")
"""Where dvc.yaml has a run lie outside the store."""


@dataclass(frozen=True)
class Session:
    """A run that is ready to go on, in this process."""

    params: Params
    executor: StageExecutor
    run: Run

    @classmethod
    def of(cls, params: Params, named: Run | None = None, *, adopting: bool = True) -> "Session":
        """Return the session of parameters, after every check that needs no computing.

        A run that lies in `outputs/run`, as `dvc pull` brings it, is taken into the store if it is of these
        parameters and has got further.

        Args:
            params: The parameters.
            named: The run that they must be those of; it may lie outside the store.
            adopting: Whether what lies in `outputs/run` is looked at.

        Raises:
            ValueError: If the device, a reward, the base weights or the held-out prompts cannot be had; nothing has
                been started then.
        """
        executor = ready(params)
        if named:
            require_same(named, params, executor)
        run = open_run(params, device=executor.device.type)
        for copy in (*([EXPORTED] if adopting else []), *([named.path] if named else [])):
            if copy != run.path and is_run(copy) and Run(copy).key == run.key:
                adopt(Run(copy))
        return cls(params, executor, run)

    def train(
        self,
        call: StageCall,
        *,
        observers: Sequence[Observer] = (),
        links: Mapping[str, str] | None = None,
        final: bool = True,
        out: Path | None = None,
        obey: bool = True,
    ) -> Run:
        """Bring the run to its number of rounds; return it, or the child that a guard makes of it.

        Args:
            call: How a stage is called.
            observers: Who watches beside the console and MLflow.
            links: Ids of this session elsewhere, beside git, DVC and MLflow.
            final: Whether base, best and last policy are judged on `report.split` at the end.
            out: Folder to link the run into, for DVC to keep.
            obey: Whether a guard may end the run; else all of them warn.

        Raises:
            GuardStopError: If a guard has ended it.
        """
        try:
            self._train(call, observers, links, final=final, out=out, obey=obey)
        except TrippedError as tripped:
            if tripped.finding.action == "rollback":
                child = self._rolled_back(tripped.finding)
                return child.train(call, observers=observers, links=links, final=final, out=out)
            raise ended(self.run, self._own_params, tripped.finding) from tripped
        return self.run

    def _rolled_back(self, finding: Finding) -> "Session":
        """Return a session of the run that goes on from the best round with half the learning rate."""
        best = best_round(self.run, self._own_params, below=finding.policy_round)  # or it trips there again
        device = self.executor.device.type
        child = begin_child(self.run, self.params, best, reason=finding.guard, device=device)
        told = f"run {self.run.key} is rolled back to round {best} by the guard {finding.guard}"
        more = f"it goes on as {child.key} with half the learning rate; nothing of it is deleted"
        print(f"{told}: {more}", file=sys.stderr, flush=True)
        return Session.of(child_params(self.params, best))

    @property
    def _own_params(self) -> Params:
        """The parameters with the lists of prompts that the run keeps itself."""
        return with_prompts(self.params, self.run.prompts)

    def _train(
        self,
        call: StageCall,
        observers: Sequence[Observer],
        links: Mapping[str, str] | None,
        *,
        final: bool,
        out: Path | None,
        obey: bool,
    ) -> None:
        run = self.run
        with locked(run.path), at_work(self.executor):
            forget_request(run)
            params = run.remember(self.params)
            self._mend(params)
            links = origin_links() | versions() | dict(links or {})
            _warn_of_other_code(run, links)
            self._encode(params)
            run.begin_session(links)
            watching = Observers([ConsoleObserver(), LogObserver(), MlflowObserver(params), *observers])
            loop = Loop(run, params, self.executor, call, watching, Guards(run, params, obey=obey))
            with watching.watching(run, params.run.rounds):
                try:
                    loop.train()
                except TrippedError as tripped:
                    if final and tripped.finding.action == "stop" and tripped.finding.guard != "disk":
                        loop.judge_finally()
                    raise
                if final:
                    loop.judge_finally()
            if out:
                link_out(run, out, params.run.rounds)

    def _encode(self, params: Params) -> None:
        """Encode what the run will be asked to paint, so that the text encoders are loaded once and freed."""
        drawn = drawn_texts(params, range(self.run.num_finished, params.run.rounds))
        judged = [*held_out(params).texts, *held_out(for_report(params)).texts]
        encoded = self.executor.encode([*drawn, *judged])
        if encoded:
            print(f"{encoded} texts encoded; the text encoders are freed", file=sys.stderr, flush=True)

    def _mend(self, params: Params) -> None:
        """Make the run fit for its next round, and say on standard error what is damaged."""
        resume(self.run, params, self.executor, say=partial(print, file=sys.stderr, flush=True))


def ready(params: Params) -> StageExecutor:
    """Check what parameters name and return what they compute on; nothing is written but what is downloaded.

    Raises:
        ValueError: As `Session.of`.
    """
    rewards = {*params.score.rewards, *params.evaluate.rewards}
    check_names(params, rewards)
    held_out(params)
    held_out(for_report(params))
    check_prompts(params)
    require_tracking(params)
    executor = executor_for(params)  # from here on weights are downloaded
    check_rewards(params, rewards)
    return executor


def _warn_of_other_code(run: Run, links: Mapping[str, str]) -> None:
    """Say when a run goes on with other code or another torch than it was last computed with."""
    before = run.links
    for name in ("code", "torch"):
        if before.get(name, links[name]) != links[name]:
            told = f"warning: run {run.key} goes on with another {name} ({before[name]} before, {links[name]} now)"
            print(f"{told}: its later rounds may not be those of the earlier {name}", file=sys.stderr, flush=True)


def open_stored(run: Run) -> Session:
    """Return a session on a run of the store, with the parameters that it was last started with.

    Raises:
        ValueError: If weights, device or version are no longer those that made the run.
    """
    params = run.params()
    executor = executor_for(params)
    require_same(run, params, executor)
    return Session(params, executor, run)


def require_same(run: Run, params: Params, executor: StageExecutor) -> None:
    """Refuse to go on with a run by parameters, weights or a kind of device that are not those that made it.

    Raises:
        ValueError: With every key that differs.
    """
    differences = run.fingerprint.differences(Fingerprint.of(params, executor.device.type))
    if differences:
        told = "\n".join(f"  {line}" for line in differences)
        raise ValueError(
            f"Run {run.key} goes on only with what made it; these differ:\n{told}\nSet them back, or leave --run out: "
            "`g2rpo train` then starts a run of its own."
        )


def as_typed(path: Path) -> str:
    """Return a path as a person would type it: relative to the current folder where it lies below."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
