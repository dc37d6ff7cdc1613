"""The next round painted while this one updates: `placement.staleness`."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from flows.common.endings import RunnersLostError
from stages.contract.declared_stages import ROUND_STAGES
from stages.contract.executor import StageExecutor
from stages.engine.execute import run_stage
from stages.params.record import Params
from stages.store.run import Run

_BEFORE = ROUND_STAGES[:-1]  # all but the update


@dataclass(frozen=True)
class Ahead:
    """Brings the stages of the next round that need no new policy along; they are found done when its turn comes."""

    run: Run
    params: Params
    executor: StageExecutor

    @contextmanager
    def of(self, number: int) -> Generator[None]:
        """Surround the update of a round; at the end, the next one is painted, scored and integrated.

        What goes wrong ahead goes wrong again in its turn, and is told then; too many lost runners are told at once.

        Raises:
            RunnersLostError: If they were lost on the way.
        """
        if not self.params.placement.staleness or number + 1 >= self.params.run.rounds:
            yield
            return
        with ThreadPoolExecutor(1) as aside:
            painting = aside.submit(self._paint, number + 1)
            yield
            if isinstance(error := painting.exception(), RunnersLostError):
                raise error

    def _paint(self, number: int) -> None:
        for stage in _BEFORE:
            run_stage(self.run, stage, number, self.params, self.executor)
