"""Choice of the executor of the stages: this process, or runners of a Ray cluster, one per GPU."""

from collections.abc import Generator
from contextlib import contextmanager

from stages.contract.executor import StageExecutor
from stages.engine.loaded_models import LoadedModels
from stages.params.record import Params


def executor_for(params: Params) -> StageExecutor:
    """Return the executor for these parameters; nothing is loaded or started yet.

    Raises:
        ValueError: If the device, the base model or Ray is missing.
    """
    if params.placement.runner == "local":
        return LoadedModels(params)
    try:
        from flows.runners.ray_executor import RayExecutor
    except ImportError as error:
        raise ValueError(
            f"placement.runner: ray needs Ray, got {error}. Install it, for example by `pip install --editable "
            "'.[ray]'`, or set placement.runner to local."
        ) from error
    return RayExecutor(params)


@contextmanager
def at_work(executor: StageExecutor) -> Generator[StageExecutor]:
    """Yield the executor, and close it at the end of the block."""
    try:
        yield executor
    finally:
        executor.close()
