"""Who holds a run: a lock in its folder, which dies with its holder."""

import fcntl
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stages.disk.files import sweep, writing


@dataclass(frozen=True)
class Holder:
    """A process that holds a run, or has held it."""

    pid: int
    host: str

    def __str__(self) -> str:
        return f"process {self.pid} of {self.host}"


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Hold the run in a folder for this process, so that nobody else writes to it.

    What a killed holder has left half written is removed.

    Raises:
        ValueError: If another process holds it; with that process's id and machine.
        StoreWriteError: If the run's folder cannot be written to.
    """
    path = folder / "lock"
    with writing(path):
        handle = path.open("a+")
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = last_holder(folder) or "another process"
            raise ValueError(
                f"Run {folder.name} must be free, it is held by {holder}. Wait for that process, or stop it."
            ) from None
        with writing(path):
            handle.truncate(0)
            handle.write(f"{os.getpid()}\n{socket.gethostname()}\n")
            handle.flush()
        sweep(folder)
        yield


def held_by(folder: Path) -> Holder | None:
    """Return who holds the run in a folder, or None if nobody does."""
    path = folder / "lock"
    if not path.is_file():
        return None
    with path.open() as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return last_holder(folder)
    return None


def last_holder(folder: Path) -> Holder | None:
    """Return who holds the run in a folder or was the last to hold it; None if its lock does not say."""
    path = folder / "lock"
    said = path.read_text().split() if path.is_file() else []
    return Holder(int(said[0]), said[1]) if len(said) == 2 else None
