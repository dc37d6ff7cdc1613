"""One stage of one round, by hand: to inspect it, or to share a round between machines."""

from collections.abc import Sequence

from flows.runners.choice import at_work
from flows.training.session import open_stored
from stages.contract.declared_stages import STAGES
from stages.disk.policy_state import STATE
from stages.engine.execute import run_stage
from stages.integrity.repair import make_inputs
from stages.store.lock import locked
from stages.store.manifest import pruned_outputs
from stages.store.run import Run, find_run


def run_alone(name: str, key: str, number: int, *, shards: Sequence[int] | None, force: bool) -> str:
    """Run a stage of a round of a stored run; return a line with the result.

    By force, inputs that retention has let go are made again too, and stay until they are pruned.

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
    with locked(run.path), at_work(session.executor):
        before = _bytes_let_go(run)
        if force:
            make_inputs(run, STAGES[name], number, session.params, session.executor)
        done = run_stage(run, STAGES[name], number, session.params, session.executor, shards=shards, force=force)
        again = _bytes_let_go(run) - before
    restored = f"; {again / 1e6:.1f} MB that retention had let go are there again, `g2rpo prune --run {run.key[:8]}` "
    return done.line(number) + (f"{restored}frees them" if again else "")


def _bytes_let_go(run: Run) -> int:
    """Return the bytes that lie in the store though a tombstone says that retention has let them go."""
    folders = [path.parent for path in run.path.glob("rounds/*/pruned.json")]
    tables = [folder / name for folder in folders for name in pruned_outputs(folder)]
    return sum(path.stat().st_size for table in tables for path in table.glob("*") if path.name != STATE)
