"""The lock of a run: a file in its folder, locked until its holder's process ends."""

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
    """A process that holds a run, or held it."""

    pid: int
    host: str

    def __str__(self) -> str:
        return f"process {self.pid} of {self.host}"


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Hold the run in a folder for this process, so that no other process writes to it.

    Half-written files of a killed holder are removed.

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
    """Return the holder of the run in a folder; None if it is free."""
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
    """Return the present or last holder of the run in a folder; None if its lock names none."""
    path = folder / "lock"
    fields = path.read_text().split() if path.is_file() else []
    return Holder(int(fields[0]), fields[1]) if len(fields) == 2 else None
