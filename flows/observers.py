"""Who watches a run: console, MLflow, Prefect. They see numbers that lie on disk already and change none."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Protocol

from stages.store import Run


class Observer(Protocol):
    """Watches one run from its first to its last round of this process."""

    def watch(self, run: Run, num_rounds: int) -> None:
        """The run is about to go on to `num_rounds`; what it has finished lies in the store."""
        ...

    def stage_started(self, stage: str, number: int) -> None:
        """A stage of a round begins."""
        ...

    def round_finished(self, number: int, metrics: Mapping[str, float]) -> None:
        """A round, counted from 0, is whole."""
        ...

    def evaluated(self, policy_round: int, split: str, metrics: Mapping[str, float]) -> None:
        """A policy has been judged on held-out prompts; policy_round 0 is the base."""
        ...

    def close(self, *, failed: bool) -> None:
        """The run goes no further in this process."""
        ...


class Observers:
    """Tells several observers, in order."""

    def __init__(self, each: Sequence[Observer]) -> None:
        self._each = each

    @contextmanager
    def watching(self, run: Run, num_rounds: int) -> Generator["Observers"]:
        """Open all, and close those that were opened, in reverse order, whatever happens."""
        with ExitStack() as stack:
            for observer in self._each:
                stack.push(lambda kind, error, trace, observer=observer: observer.close(failed=kind is not None))
                observer.watch(run, num_rounds)
            yield self

    def stage_started(self, stage: str, number: int) -> None:
        """Tell all."""
        for observer in self._each:
            observer.stage_started(stage, number)

    def round_finished(self, number: int, metrics: Mapping[str, float]) -> None:
        """Tell all."""
        for observer in self._each:
            observer.round_finished(number, metrics)

    def evaluated(self, policy_round: int, split: str, metrics: Mapping[str, float]) -> None:
        """Tell all."""
        for observer in self._each:
            observer.evaluated(policy_round, split, metrics)
