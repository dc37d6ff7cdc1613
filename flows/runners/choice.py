"""Who does the work of the stages: this process, or runners of a Ray cluster, one a GPU."""

from collections.abc import Generator
from contextlib import contextmanager

from stages.contract.executor import Worker
from stages.engine.loaded_models import Resources
from stages.params.record import Params


def runners(params: Params) -> Worker:
    """Return who does the stages of these parameters; nothing is loaded or started yet.

    Raises:
        ValueError: If the device, the base model or Ray is not there.
    """
    if params.placement.runner == "local":
        return Resources(params)
    try:
        from flows.runners.ray_runners import RayRunners
    except ImportError as error:
        raise ValueError(
            f"placement.runner: ray needs Ray, got {error}. Install it, as by `pip install --editable '.[ray]'`, or "
            "set placement.runner to local."
        ) from error
    return RayRunners(params)


@contextmanager
def at_work(worker: Worker) -> Generator[Worker]:
    """Have runners at hand until the end of the block, and send them home then."""
    try:
        yield worker
    finally:
        worker.close()
