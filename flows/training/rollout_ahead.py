"""The next round's rollout while this round updates: `placement.staleness`."""

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
    """Runs the stages of the next round before its update ahead; the loop then finds them done."""

    run: Run
    params: Params
    executor: StageExecutor

    @contextmanager
    def of(self, number: int) -> Generator[None]:
        """Surround the update of a round; when it ends, the next round is sampled, scored and integrated.

        An error ahead occurs again in the next round and is raised there; only too many lost runners raise at once.

        Raises:
            RunnersLostError: If too many runners were lost.
        """
        if not self.params.placement.staleness or number + 1 >= self.params.run.rounds:
            yield
            return
        with ThreadPoolExecutor(1) as aside:
            ahead = aside.submit(self._run_stages, number + 1)
            yield
            if isinstance(error := ahead.exception(), RunnersLostError):
                raise error

    def _run_stages(self, number: int) -> None:
        for stage in _BEFORE:
            run_stage(self.run, stage, number, self.params, self.executor)
