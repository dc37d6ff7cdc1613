"""Observers of a run: console, MLflow, Prefect. They read results that are on disk already, and change none."""

import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

from flows.common.endings import StopRequestedError
from flows.common.escape import say
from flows.guards.finding import Finding, TrippedError
from stages.readings.metrics import evaluation_metrics
from stages.store.run import Run

Ending = Literal["finished", "failed", "stopped", "guarded"]
"""`guarded`: a guard has stopped the run; its best round is exported."""


@dataclass(frozen=True)
class Evaluated:
    """The evaluation of a policy on held-out prompts. Example: policy_round 10, split "tuning", rule_strict 0.45."""

    policy_round: int
    """0 is the base."""
    split: str
    folder: Path
    """The folder of its tables."""

    @cached_property
    def metrics(self) -> dict[str, float]:
        """The mean of each reward."""
        return evaluation_metrics(self.folder)


class Observer:
    """Watches one run from its first to its last round in this process; this base class does nothing."""

    def watch(self, run: Run, num_rounds: int) -> None:
        """The run is about to continue to `num_rounds`; its finished rounds are in the store."""

    def stage_started(self, stage: str, number: int) -> None:
        """A stage of a round begins."""

    def round_finished(self, number: int, metrics: Mapping[str, float]) -> None:
        """A round, counted from 0, is finished."""

    def evaluated(self, judged: Evaluated) -> None:
        """A policy has been evaluated on held-out prompts."""

    def guarded(self, finding: Finding) -> None:
        """A guard has tripped; by its action the run continues, ends, or continues as a child run."""

    def close(self, ending: Ending) -> None:
        """The run ends in this process."""


class Observers:
    """Notifies several observers, in order.

    At the start, all must succeed: a missing tracking server is an error before anything is computed. Later, an
    observer that fails is dropped with a line on standard error, and the run continues: the results that it would have
    shown are in the store, and the next start of the run shows them.
    """

    def __init__(self, each: Sequence[Observer]) -> None:
        self._each = list(each)

    @contextmanager
    def watching(self, run: Run, num_rounds: int) -> Generator["Observers"]:
        """Open all observers, and always close those that have not failed, in reverse order."""
        opened: list[Observer] = []
        ending: Ending = "stopped"
        try:
            for observer in self._each:
                observer.watch(run, num_rounds)
                opened.append(observer)
            yield self
            ending = "finished"
        except TrippedError:
            ending = "guarded"
            raise
        except StopRequestedError:
            raise
        except Exception:
            ending = "failed"
            raise
        finally:
            for observer in reversed(opened):
                if observer in self._each:
                    self._notify(observer, partial(observer.close, ending))

    def stage_started(self, stage: str, number: int) -> None:
        """Notify all observers."""
        for observer in list(self._each):
            self._notify(observer, partial(observer.stage_started, stage, number))

    def round_finished(self, number: int, metrics: Mapping[str, float]) -> None:
        """Notify all observers."""
        for observer in list(self._each):
            self._notify(observer, partial(observer.round_finished, number, metrics))

    def evaluated(self, judged: Evaluated) -> None:
        """Notify all observers."""
        for observer in list(self._each):
            self._notify(observer, partial(observer.evaluated, judged))

    def guarded(self, finding: Finding) -> None:
        """Notify all observers."""
        for observer in list(self._each):
            self._notify(observer, partial(observer.guarded, finding))

    def _notify(self, observer: Observer, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # no failure of an external server may stop a training run
            self._each.remove(observer)
            message = f"warning: {type(observer).__name__} shows this run no longer, the run goes on: {error}"
            with suppress(OSError):  # standard error may be closed
                say(message, file=sys.stderr, flush=True)
