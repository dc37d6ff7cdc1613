"""`g2rpo repair`: all that is damaged of a run is made again, also what no further round needs."""

import sys
from collections.abc import Sequence

from flows.common.escape import say
from flows.runners.choice import at_work
from flows.training.session import open_stored
from flows.upkeep.store_commands import find_whole, remedy_of_copy
from stages.contract.declared_stages import EVALUATE, ROUND_STAGES
from stages.disk.root import store_root
from stages.integrity.damage import Damage, mark
from stages.integrity.former import restore_former
from stages.integrity.repair import repair
from stages.integrity.verify import verify
from stages.store.lock import locked
from stages.store.retention import prune
from stages.store.run import Run


def repaired(name: str) -> str:
    """Make again all that is damaged of a run; return a line that says how much that was.

    What will be made again is said before on standard error, stage by stage with its rounds.

    Raises:
        ValueError: If there is no such run in the store, another process holds it, its own files are damaged, or what
            is made again is not what later rounds were made from.
        StoreWriteError: If the store cannot be written to.
    """
    run = find_whole(name)
    if run.path.parent != store_root() / "runs":
        raise ValueError(f"A run of the store is required, got a copy in {run.path}. {remedy_of_copy()}")
    with locked(run.path):
        restore_former(run)
        found = verify(run)
        if not found:
            mark(run, [])
            return f"run {run.key} is whole, nothing was made again"
        for line in plan_lines(run, found):
            say(line, file=sys.stderr, flush=True)
        session = open_stored(run)
        with at_work(session.executor):
            repair(run, found, session.params, session.executor)
        prune(run, session.params)  # what was let go had to be made again for the rest
    return f"run {run.key} is whole again: {len(found)} damaged files or manifests were made again"


def plan_lines(run: Run, found: Sequence[Damage]) -> list[str]:
    """Return what will be made again, a line a stage, as `to make again: score of rounds 3, 17`."""
    lines = []
    for stage in (*ROUND_STAGES, EVALUATE):
        numbers = sorted({damage.number for damage in found if damage.stage == stage})
        if numbers:
            of = "policies after rounds" if stage == EVALUATE else "rounds"
            lines.append(f"to make again: {stage.name} of {of} {', '.join(map(str, numbers))}")
    metrics = [damage.number for damage in found if damage.path == run.metrics_path(damage.number)]
    if metrics:
        lines.append(f"to count again: metrics of rounds {', '.join(map(str, metrics))}")
    if any("rounds" in line for line in lines):
        lines.append("what these read is made again too, where retention has let it go")
    return lines
