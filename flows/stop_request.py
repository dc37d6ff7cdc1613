"""A request to stop a run at the end of its stage: a file in its folder, which the loop looks at before each stage."""

import fcntl
import os
import signal
from pathlib import Path

from flows.stopping import StopAskedError
from stages.files import write_text
from stages.store import Run, find_run


def obey_request(run: Run) -> None:
    """Stop if it has been asked for; the request is used up by that.

    Raises:
        StopAskedError: If there is a request.
    """
    if _request(run).is_file():
        forget_request(run)
        raise StopAskedError(f"run {run.key} is stopped as asked; give the same command again to go on")


def forget_request(run: Run) -> None:
    """Remove a request that was meant for an earlier process."""
    _request(run).unlink(missing_ok=True)


def ask_to_stop(name: str, *, now: bool) -> str:
    """Ask the process that holds a run to stop, and return a line on it.

    Args:
        name: The run's key.
        now: Whether it shall stop at once, by SIGTERM, rather than at the end of its stage.

    Raises:
        ValueError: If no process of this machine holds the run.
    """
    run = find_run(name)
    holder = held_by(run)
    if holder is None:
        raise ValueError(f"Run {run.key} must be going on to be stopped, but no process of this machine holds it.")
    if now:
        os.kill(holder, signal.SIGTERM)
        return f"run {run.key}: process {holder} has been told to stop at once; its unfinished shard is made again"
    write_text(_request(run), f"{os.getpid()}\n")
    return f"run {run.key}: process {holder} stops at the end of its stage"


def held_by(run: Run) -> int | None:
    """Return the process that holds a run, or None if none does."""
    path = run.path / "lock"
    if not path.is_file():
        return None
    with path.open() as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            said = handle.read().strip()
            return int(said) if said.isdigit() else None
    return None


def _request(run: Run) -> Path:
    return run.path / "stop"
