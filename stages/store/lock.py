"""Who holds a run: a lock in its folder, which dies with its holder."""

import fcntl
from dataclasses import dataclass

from stages.store.run import Run


@dataclass(frozen=True)
class Holder:
    """A process that holds a run, or has held it."""

    pid: int
    host: str

    def __str__(self) -> str:
        return f"process {self.pid} of {self.host}"


def held_by(run: Run) -> Holder | None:
    """Return who holds a run, or None if nobody does."""
    path = run.path / "lock"
    if not path.is_file():
        return None
    with path.open() as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return last_holder(run)
    return None


def last_holder(run: Run) -> Holder | None:
    """Return who holds a run or was the last to hold it; None if its lock does not say."""
    path = run.path / "lock"
    said = path.read_text().split() if path.is_file() else []
    return Holder(int(said[0]), said[1]) if len(said) == 2 else None
