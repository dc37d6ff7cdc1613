"""A run outside the store: linked out for DVC to keep, and taken up again from there."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from stages.files import atomic_folder, make_folder, read_sealed, write_sealed, writing
from stages.store import Run, home


def export(run: Run, out: Path) -> None:
    """Put a copy of the run into a folder, by hard links where the file system has them, whole or not at all.

    Stored files are never written to again, only replaced, so both sides may share them.

    Raises:
        ValueError: If another process holds the run.
        StoreWriteError: If the folder cannot be written to.
    """
    with run.locked(), atomic_folder(out) as temporary:
        for path in _files(run.path):
            _link(path, temporary / path.relative_to(run.path))


def adopt(copy: Run) -> Run:
    """Take a run that lies in a folder into the store, unless the store has got as far with it.

    Raises:
        ValueError: If the copy's run.json is damaged.
        StoreWriteError: If the store cannot be written to.
    """
    run = Run(home() / "runs" / copy.key)
    if is_run(run.path) and _finished(run) >= copy.num_finished:
        return run
    make_folder(run.path)
    with run.locked():
        for path in _files(copy.path):
            target = run.path / path.relative_to(copy.path)
            if path.name not in ("HEAD", "run.json"):
                with writing(target):
                    target.unlink(missing_ok=True)
                    _link(path, target)
        write_sealed(run.path / "run.json", copy.about)
        run.finish_round(max(copy.num_finished, _finished(run)) - 1)
    return run


def is_run(folder: Path) -> bool:
    """Whether a run lies in a folder."""
    return read_sealed(folder / "run.json") is not None


def _finished(run: Run) -> int:
    """Return the rounds that a run of the store has finished; 0 where its HEAD is damaged."""
    try:
        return run.num_finished
    except ValueError:
        return 0


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "lock" and not path.name.endswith(".tmp"):
            yield path


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links; a full disk fails again
        shutil.copy2(source, target)
