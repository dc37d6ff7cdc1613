"""Who watches a run: console, MLflow, Prefect. They see numbers that lie on disk already and change none."""

import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

from flows.common.endings import StopAskedError
from flows.guards.finding import Finding, TrippedError
from stages.readings.metrics import evaluation_metrics
from stages.store.run import Run

Ending = Literal["finished", "failed", "stopped", "guarded"]
"""`guarded`: a guard has ended it; its best round is there to be used."""


@dataclass(frozen=True)
class Judged:
    """A policy on held-out prompts. Example: policy_round 10, split "tuning", rule_strict 0.45."""

    policy_round: int
    """0 is the base."""
    split: str
    folder: Path
    """Where its tables lie."""

    @cached_property
    def metrics(self) -> dict[str, float]:
        """The mean of each reward."""
        return evaluation_metrics(self.folder)


class Observer:
    """Watches one run from its first to its last round of this process; by itself it does nothing."""

    def watch(self, run: Run, num_rounds: int) -> None:
        """The run is about to go on to `num_rounds`; what it has finished lies in the store."""

    def stage_started(self, stage: str, number: int) -> None:
        """A stage of a round begins."""

    def round_finished(self, number: int, metrics: Mapping[str, float]) -> None:
        """A round, counted from 0, is whole."""

    def evaluated(self, judged: Judged) -> None:
        """A policy has been judged on held-out prompts."""

    def guarded(self, finding: Finding) -> None:
        """A guard has tripped; by its action the run goes on, ends, or goes on as another."""

    def close(self, ending: Ending) -> None:
        """The run goes no further in this process."""


class Observers:
    """Tells several observers, in order.

    To begin with, each must answer: a tracking server that is not there is told before anything is computed.
    Later, one that fails is left out with a line on standard error, and the run goes on: what it would have shown
    lies in the store, and the next start of the run shows it.
    """

    def __init__(self, each: Sequence[Observer]) -> None:
        self._each = list(each)

    @contextmanager
    def watching(self, run: Run, num_rounds: int) -> Generator["Observers"]:
        """Open all, and close those that still watch, in reverse order, whatever happens."""
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
        except StopAskedError:
            raise
        except Exception:
            ending = "failed"
            raise
        finally:
            for observer in reversed(opened):
                if observer in self._each:
                    self._tell(observer, partial(observer.close, ending))

    def stage_started(self, stage: str, number: int) -> None:
        """Tell all."""
        for observer in list(self._each):
            self._tell(observer, partial(observer.stage_started, stage, number))

    def round_finished(self, number: int, metrics: Mapping[str, float]) -> None:
        """Tell all."""
        for observer in list(self._each):
            self._tell(observer, partial(observer.round_finished, number, metrics))

    def evaluated(self, judged: Judged) -> None:
        """Tell all."""
        for observer in list(self._each):
            self._tell(observer, partial(observer.evaluated, judged))

    def guarded(self, finding: Finding) -> None:
        """Tell all."""
        for observer in list(self._each):
            self._tell(observer, partial(observer.guarded, finding))

    def _tell(self, observer: Observer, what: Callable[[], None]) -> None:
        try:
            what()
        except Exception as error:  # whatever a server of somebody else does must not stop a training run
            self._each.remove(observer)
            told = f"warning: {type(observer).__name__} shows this run no longer, the run goes on: {error}"
            with suppress(OSError):  # standard error may be closed
                print(told, file=sys.stderr, flush=True)
