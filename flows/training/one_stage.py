"""One stage of one round, by hand: to inspect it, or to share a round between machines."""

from collections.abc import Sequence

from flows.runners.choice import at_work
from flows.training.session import open_stored
from stages.contract.declared_stages import STAGES
from stages.engine.execute import run_stage
from stages.integrity.repair import make_inputs
from stages.store.lock import locked
from stages.store.run import find_run


def run_alone(name: str, key: str, number: int, *, shards: Sequence[int] | None, force: bool) -> str:
    """Run a stage of a round of a stored run; return a line with the result.

    Raises:
        ValueError: If the stage, the run or an input does not exist, or another process holds the run.
    """
    if name not in STAGES:
        raise ValueError(f"A stage is one of {', '.join(STAGES)}, got {name!r}.")
    run = find_run(key)
    if number > run.num_finished:
        raise ValueError(
            f"Run {run.key} has {run.num_finished} finished rounds, got --round {number}. Name an earlier one."
        )
    session = open_stored(run)
    with locked(session.run.path), at_work(session.executor):
        if force:
            make_inputs(session.run, STAGES[name], number, session.params, session.executor)
        done = run_stage(
            session.run, STAGES[name], number, session.params, session.executor, shards=shards, force=force
        )
    return done.told(number)
