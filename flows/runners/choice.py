"""Who does the work of the stages: this process, or runners of a Ray cluster, one a GPU."""

from collections.abc import Generator
from contextlib import contextmanager

from stages.contract.executor import StageExecutor
from stages.engine.loaded_models import Resources
from stages.params.record import Params


def executor_for(params: Params) -> StageExecutor:
    """Return who does the stages of these parameters; nothing is loaded or started yet.

    Raises:
        ValueError: If the device, the base model or Ray is not there.
    """
    if params.placement.runner == "local":
        return Resources(params)
    try:
        from flows.runners.ray_executor import RayExecutor
    except ImportError as error:
        raise ValueError(
            f"placement.runner: ray needs Ray, got {error}. Install it, as by `pip install --editable '.[ray]'`, or "
            "set placement.runner to local."
        ) from error
    return RayExecutor(params)


@contextmanager
def at_work(executor: StageExecutor) -> Generator[StageExecutor]:
    """Have runners at hand until the end of the block, and send them home then."""
    try:
        yield executor
    finally:
        executor.close()
