"""Final evaluations of a plan's runs: the last policy of each, and the base once for all runs that share it."""

import fcntl
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

from flows.compare.cells import final_params
from flows.compare.stored import base_folder, is_evaluated
from flows.observers.observer import Evaluated
from flows.runners.choice import at_work
from flows.tracking.observer import MlflowObserver
from flows.training.session import Session
from stages.contract.declared_stages import EVALUATE
from stages.disk.files import atomic_folder, link_or_copy, make_folder
from stages.engine.execute import execute, is_done, run_stage
from stages.store.lock import flock, locked, open_lock
from stages.store.run import Run


def take_base(session: Session, others: Iterable[Path]) -> None:
    """Reuse the base's evaluation on evaluate.split from another run, if one has made the same evaluation.

    Args:
        session: The session of the run to continue.
        others: Folders of runs, which need not exist.
    """
    run, params = session.run, session.params
    target = run.evaluation_folder(0, params.evaluate.split)
    if is_evaluated(target):
        return
    for source in map(Run, others):
        made = source.evaluation_folder(0, params.evaluate.split)
        if is_evaluated(made) and is_done(source, EVALUATE, 0, params):
            with locked(run.path), atomic_folder(target) as temporary:
                for path in (path for path in made.rglob("*") if path.is_file() and not path.is_symlink()):
                    link_or_copy(path, temporary / path.relative_to(made))
            return


def evaluate_last(session: Session, split: str) -> None:
    """Evaluate the last policy of a trained run on a split, and log the result to MLflow."""
    run, rounds = session.run, session.params.run.rounds
    by = final_params(session.params, split)
    if is_done(run, EVALUATE, rounds, by):
        return
    with locked(run.path), at_work(session.executor):
        run_stage(run, EVALUATE, rounds, by, session.executor)
    tracker = MlflowObserver(session.params)
    tracker.show(run)
    tracker.evaluated(Evaluated(rounds, split, run.evaluation_folder(rounds, split)))


def evaluate_base(session: Session, split: str) -> None:
    """Evaluate the base on a split, unless another run with the same base and evaluation has done so."""
    by = final_params(session.params, split)
    folder = base_folder(by)
    with _exclusive(folder.with_name(f".{folder.name}.lock")):
        if not is_evaluated(folder):
            policy = {"policy": session.run.policy_folder(0)}
            with at_work(session.executor):
                execute(EVALUATE, folder, policy, by, session.executor, number=0, force=True)


@contextmanager
def _exclusive(lock: Path) -> Generator[None]:
    """Wait until no other process holds the lock, and hold it in the block."""
    make_folder(lock.parent)
    with open_lock(lock) as handle:
        flock(handle, fcntl.LOCK_EX)
        yield
