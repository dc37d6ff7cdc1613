"""A run outside the store: link it out for DVC, and adopt it from there."""

from collections.abc import Iterator
from pathlib import Path

from stages.disk.files import atomic_folder, link_or_copy, make_folder, read_sealed, write_sealed, writing
from stages.disk.root import store_root
from stages.store.lock import locked
from stages.store.run import Run


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
            known = target.is_file() and round_of(within) <= finished  # the store keeps its own files
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
    """Return the number of rounds after which a file of a run exists: 8 for a file of round 7, 0 for the run's own."""
    if path.parts[0] in ("rounds", "metrics"):
        return int(path.parts[1][:4]) + 1
    return int(path.parts[1][:4]) if path.parts[0] == "evaluations" else 0


def _finished(run: Run) -> int:
    """Return the number of finished rounds of a run in the store; 0 if its HEAD is damaged."""
    try:
        return run.num_finished
    except ValueError:
        return 0


def files_of(folder: Path) -> Iterator[Path]:
    """Yield every file of a run except its lock, half-written or former files, the mark of damage, files set aside."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        left_out = path.name in ("lock", "damaged.json") or any(
            part.endswith((".tmp", ".damaged", ".former")) for part in parts
        )
        if path.is_file() and not left_out:
            yield path
