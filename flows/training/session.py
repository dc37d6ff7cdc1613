"""One training session: check parameters, open, lock and verify the run, call observers, run the loop."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flows.common.escape import say
from flows.guards.finding import Finding, TrippedError
from flows.guards.watch import Guards
from flows.observers.console import ConsoleObserver
from flows.observers.observer import Observer, Observers
from flows.observers.run_log import LogObserver
from flows.runners.choice import at_work, executor_for
from flows.tracking.observer import MlflowObserver
from flows.tracking.recordable import require_tracking
from flows.training.guard_ending import ended
from flows.training.loop import Loop, StageCall
from flows.training.provenance import origin_links, versions
from flows.training.stop_request import forget_request
from stages.contract.executor import StageExecutor
from stages.integrity.damage import num_marked
from stages.integrity.resume import resume
from stages.params.record import Params, for_report
from stages.readings.best_round import best_round
from stages.sources.base_model import base_model
from stages.sources.rewards import check_names, check_rewards
from stages.store.adopted import forget_adopted, require_named
from stages.store.child_run import begin_child, child_params
from stages.store.fingerprint import Fingerprint
from stages.store.lock import locked
from stages.store.run import Run, is_run, open_run
from stages.store.transfer import adopt, link_out
from stages.texts.draws import check_prompts, drawn_texts
from stages.texts.held_out import held_out
from stages.texts.lists import with_prompts
from stages.texts.truncation import cut_prompts

EXPORTED = Path("outputs/run")
"""Folder outside the store in which dvc.yaml keeps a run."""


@dataclass(frozen=True)
class Session:
    """A run that is ready to be trained in this process."""

    params: Params
    executor: StageExecutor
    run: Run

    @classmethod
    def of(cls, params: Params, named: Run | None = None, *, adopting: bool = True) -> "Session":
        """Return the session of parameters, after every check that needs no computing.

        A run in `outputs/run`, as `dvc pull` leaves it, is adopted into the store if it has these parameters and
        more rounds.

        Args:
            params: The parameters.
            named: A run that must have these parameters; it may be outside the store.
            adopting: Whether to look into `outputs/run`.

        Raises:
            ValueError: If the device, a reward, the base weights or the held-out prompts are missing; nothing has
                started then.
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
        """Train the run to its number of rounds; return it, or the child after a rollback.

        Args:
            call: Calls a stage.
            observers: Observers beside console, log and MLflow.
            links: Ids of this session in other systems, beside git, DVC and MLflow.
            final: Whether to evaluate base, best and last policy on `report.split` at the end.
            out: Folder to link the run into, for DVC.
            obey: Whether a guard may end the run; if not, all guards only warn.

        Raises:
            GuardStopError: If a guard has ended it.
        """
        try:
            self._train(call, observers, links, final=final, out=out, obey=obey)
        except TrippedError as tripped:
            if tripped.finding.action == "rollback":
                child = self._roll_back(tripped.finding)
                return child.train(call, observers=observers, links=links, final=final, out=out)
            raise ended(self.run, self._own_params, tripped.finding) from tripped
        return self.run

    def _roll_back(self, finding: Finding) -> "Session":
        """Return the session of a child run that continues from the best round with half the learning rate.

        Raises:
            ValueError: If files of the run are marked as damaged: another round might then count as the best.
        """
        if marked := num_marked(self.run):
            raise ValueError(
                f"Run {self.run.key} must be whole for the guard {finding.guard} to roll it back to its best round, "
                f"got {marked} damaged files. Run `g2rpo repair --run {self.run.key[:8]}`, then the same command again."
            )
        best = best_round(self.run, self._own_params, below=finding.policy_round)  # or the guard trips there again
        device = self.executor.device.type
        child = begin_child(self.run, self.params, best, reason=finding.guard, device=device)
        message = f"the guard {finding.guard} rolls run {self.run.key} back to round {best}"
        more = f"it continues as {child.key} with half the learning rate; nothing is deleted"
        say(f"{message}: {more}", file=sys.stderr, flush=True)
        return Session.of(child_params(self.params, best))

    @property
    def _own_params(self) -> Params:
        """The parameters, with the run's own copies of the prompts."""
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
            params = self._mend()
            forget_adopted(run.key)  # what its parameters name was checked, or is a person's own
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
                        loop.evaluate_finally()
                    raise
                if final:
                    loop.evaluate_finally()
            if out:
                link_out(run, out, params.run.rounds)

    def _encode(self, params: Params) -> None:
        """Encode all texts of the run at once, so that the text encoders are loaded once and freed."""
        drawn = drawn_texts(params, range(self.run.num_finished, params.run.rounds))
        evaluated = [*held_out(params).texts, *held_out(for_report(params)).texts]
        encoded = self.executor.encode([*drawn, *evaluated])
        if encoded:
            say(f"{encoded} texts encoded; the text encoders are freed", file=sys.stderr, flush=True)

    def _mend(self) -> Params:
        """Make the run fit for its next round, and say on standard error what is damaged; return its own parameters."""
        return resume(self.run, self.params, self.executor, say=partial(say, file=sys.stderr, flush=True))


def ready(params: Params) -> StageExecutor:
    """Check all that the parameters name, and return their executor; nothing is written except downloads.

    Raises:
        ValueError: As `Session.of`.
    """
    rewards = {*params.score.rewards, *params.evaluate.rewards}
    check_names(params, rewards)
    held_out(params)
    held_out(for_report(params))
    check_prompts(params)
    if warning := require_tracking(params):
        say(f"warning: {warning}", file=sys.stderr, flush=True)
    executor = executor_for(params)  # from here on weights are downloaded
    check_rewards(params, rewards)
    for line in cut_prompts(params, base_model(params).encoder_views):
        say(f"warning: {line}; the rest is ignored", file=sys.stderr, flush=True)
    return executor


def _warn_of_other_code(run: Run, links: Mapping[str, str]) -> None:
    """Warn if a run continues with another version of the code or of torch than its last session had."""
    before = run.links
    for name in ("code", "torch"):
        if before.get(name, links[name]) != links[name]:
            change = f"run {run.key} continues with another {name} ({before[name]} before, {links[name]} now)"
            say(f"warning: {change}: its later rounds may differ", file=sys.stderr, flush=True)


def open_stored(run: Run) -> Session:
    """Return a session of a stored run, with the parameters of its last start.

    Raises:
        ValueError: If weights, device or version are not those that made the run, or a stranger's parameters name code
            or servers.
    """
    params = run.params()
    require_named(run.path, params)
    executor = executor_for(params)
    require_same(run, params, executor)
    return Session(params, executor, run)


def require_same(run: Run, params: Params, executor: StageExecutor) -> None:
    """Refuse to continue a run with other parameters, other weights or another kind of device.

    Raises:
        ValueError: With every key that differs.
    """
    differences = run.fingerprint.differences(Fingerprint.of(params, executor.device.type))
    if differences:
        lines = "\n".join(f"  {line}" for line in differences)
        raise ValueError(
            f"Run {run.key} continues only with the parameters that made it; these differ:\n{lines}\nSet them back, or "
            "omit --run: `g2rpo train` then starts another run."
        )


def as_typed(path: Path) -> str:
    """Return a path as a person would type it: relative to the current folder if it is below it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
