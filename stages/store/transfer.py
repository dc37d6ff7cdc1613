"""A run outside the store: link it out for DVC, and adopt it from there."""

from pathlib import Path

from stages.disk.files import atomic_folder, link_or_copy, write_sealed, writing
from stages.disk.root import store_root
from stages.store.adopted import mark_adopted
from stages.store.lock import locked
from stages.store.run import Run, is_run
from stages.store.run_files import files_of, require_no_links, round_of


def link_out(run: Run, out: Path, rounds: int) -> None:
    """Copy the run's first rounds into a folder, complete or not at all, by hard links if possible.

    Stored files are never overwritten, only replaced, so both sides may share them.

    Raises:
        StoreWriteError: If the folder cannot be written to.
    """
    with atomic_folder(out) as temporary:
        for path in files_of(run.path):
            within = path.relative_to(run.path)
            if round_of(within) <= rounds:
                link_or_copy(path, temporary / within)
        if run.num_finished > rounds:
            Run(temporary).finish_round(rounds - 1)


def adopt(copy: Run) -> Run:
    """Adopt a run from a folder into the store, unless the store has as many rounds of it.

    Only the files that a run may have are taken. A run whose parameters come from the copy is marked as adopted.

    Raises:
        ValueError: If the copy's run.json is damaged or of another run, or links lie in the folder; the store is as it
            was then.
        StoreWriteError: If the store cannot be written to.
    """
    require_no_links(copy.path)
    if copy.key != copy.fingerprint.key:
        raise ValueError(
            f"{copy.path / 'run.json'} must have the key of its fingerprint, {copy.fingerprint.key}, got {copy.key}: "
            "it was edited. Fetch the run again, e.g. by `dvc pull --force`."
        )
    run = Run(store_root() / "runs" / copy.key)
    finished = _finished(run)
    if is_run(run.path) and finished >= _finished(copy):
        return run
    if not (run.path / "params.yaml").is_file():
        mark_adopted(run.path.name, copy.path)
    if not run.path.exists():
        with atomic_folder(run.path) as temporary:
            _take(copy, Run(temporary), finished)
    else:
        with locked(run.path):
            _take(copy, run, finished)
    return run


def _take(copy: Run, run: Run, finished: int) -> None:
    """Link a copy's files into a run that has finished some rounds, which keeps its own files; HEAD moves last."""
    for path in files_of(copy.path):
        within = path.relative_to(copy.path)
        target = run.path / within
        known = target.is_file() and round_of(within) <= finished
        if path.name not in ("HEAD", "run.json") and not known:
            with writing(target):
                target.unlink(missing_ok=True)
                link_or_copy(path, target)
    write_sealed(run.path / "run.json", copy.about)
    run.finish_round(max(_finished(copy), finished) - 1)


def _finished(run: Run) -> int:
    """Return the number of finished rounds of a run in the store; 0 if its HEAD is damaged."""
    try:
        return run.num_finished
    except ValueError:
        return 0
