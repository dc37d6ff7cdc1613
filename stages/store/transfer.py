"""A run outside the store: linked out for DVC to keep, and taken up again from there."""

from collections.abc import Iterator
from pathlib import Path

from stages.disk.files import atomic_folder, link_or_copy, make_folder, read_sealed, write_sealed, writing
from stages.disk.root import store_root
from stages.store.lock import locked
from stages.store.run import Run


def link_out(run: Run, out: Path, rounds: int) -> None:
    """Put a copy of the run's first rounds into a folder, by hard links where there are any, whole or not at all.

    Stored files are never written to again, only replaced, so both sides may share them.

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
    """Take a run that lies in a folder into the store, unless the store has got as far with it.

    Raises:
        ValueError: If the copy's run.json is damaged.
        StoreWriteError: If the store cannot be written to.
    """
    run = Run(store_root() / "runs" / copy.key)
    finished = _finished(run)
    if is_run(run.path) and finished >= _finished(copy):
        return run
    make_folder(run.path)
    with locked(run.path):
        for path in files_of(copy.path):
            within = path.relative_to(copy.path)
            target = run.path / within
            known = target.is_file() and round_of(within) <= finished  # what the store has is not put at stake
            if path.name not in ("HEAD", "run.json") and not known:
                with writing(target):
                    target.unlink(missing_ok=True)
                    link_or_copy(path, target)
        write_sealed(run.path / "run.json", copy.about)
        run.finish_round(max(_finished(copy), finished) - 1)
    return run


def is_run(folder: Path) -> bool:
    """Whether a run lies in a folder."""
    return read_sealed(folder / "run.json") is not None


def round_of(path: Path) -> int:
    """Return the rounds that a file of a run belongs behind: 8 for what round 7 made; 0 for the run's own."""
    if path.parts[0] in ("rounds", "metrics"):
        return int(path.parts[1][:4]) + 1
    return int(path.parts[1][:4]) if path.parts[0] == "evaluations" else 0


def _finished(run: Run) -> int:
    """Return the rounds that a run of the store has finished; 0 where its HEAD is damaged."""
    try:
        return run.num_finished
    except ValueError:
        return 0


def files_of(folder: Path) -> Iterator[Path]:
    """Yield every file of a run but its lock, what is half written, and what tells of damage or was set aside by it."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in ("lock", "damaged.json") and path.suffix not in (".tmp", ".damaged"):
            yield path
