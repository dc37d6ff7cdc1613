"""The lock of a run: a file in its folder, locked until its holder's process ends."""

import errno
import fcntl
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from stages.disk.files import sweep, writing
from stages.store.run_files import require_no_links

LOCK = "lock"
"""Name of the file in a run's folder."""

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)


class NoLocksError(ValueError):
    """The file system has no locks; the message names the remedy."""


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
        ValueError: If another process holds it, with that process's id and machine; if links lie in the folder.
        NoLocksError: If the file system has no locks.
        StoreWriteError: If the run's folder cannot be written to.
    """
    require_no_links(folder)
    with open_lock(folder / LOCK) as handle:
        try:
            flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = last_holder(folder) or "another process"
            raise ValueError(
                f"Run {folder.name} must be free, it is held by {holder}. Wait for that process, or stop it."
            ) from None
        with writing(folder / LOCK):
            handle.truncate(0)
            handle.write(f"{os.getpid()}\n{socket.gethostname()}\n")
            handle.flush()
        sweep(folder)
        yield


def open_lock(path: Path) -> IO[str]:
    """Open the file of a lock, which is made if it is missing; whoever holds it may write to it.

    Raises:
        StoreWriteError: If it cannot be opened, or is a link or another name of a file elsewhere.
    """
    with writing(path):
        handle = open(path, "a+", encoding="utf-8", opener=_no_link)  # noqa: SIM115 (the caller closes it)
        if os.fstat(handle.fileno()).st_nlink != 1:
            handle.close()
            raise OSError(f"A file of its own is required, {path} has other names. Remove this one")
    return handle


def flock(handle: IO[str], operation: int) -> None:
    """Lock an open file, or ask for its lock.

    Raises:
        BlockingIOError: If another process holds it, and the operation does not wait.
        NoLocksError: If the file system has no locks.
    """
    try:
        fcntl.flock(handle, operation)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise NoLocksError(
            f"A file system with locks (flock) is required for {handle.name}, got: {error.strerror}. Without locks two "
            "processes could write the same run. Mount it with locks (NFS: a running lockd, or local_lock=flock for "
            "one machine; Lustre: flock), or put the store on a local disk: G2RPO_HOME."
        ) from None


def held_by(folder: Path) -> Holder | None:
    """Return the holder of the run in a folder; None if it is free.

    Raises:
        NoLocksError: If the file system has no locks.
    """
    path = folder / LOCK
    if not path.is_file():
        return None
    with path.open(encoding="utf-8") as handle:
        try:
            flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return last_holder(folder)
    return None


def last_holder(folder: Path) -> Holder | None:
    """Return the present or last holder of the run in a folder; None if its lock names none."""
    path = folder / LOCK
    fields = path.read_text(encoding="utf-8", errors="replace").split() if path.is_file() else []
    return Holder(int(fields[0]), fields[1]) if len(fields) == 2 and _is_process(fields[0]) else None


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def _is_process(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10 and int(text) > 0  # 1 is one in a container
