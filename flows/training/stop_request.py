"""A request to stop a run at the end of its stage: a file in its folder, for which the loop looks before each stage."""

import os
import socket
from contextlib import suppress
from pathlib import Path

import psutil

from flows.common.endings import StopRequestedError
from stages.disk.files import remove, write_text, writing
from stages.store.lock import LOCK, Holder, held_by
from stages.store.run import Run, find_run


def obey_request(run: Run) -> None:
    """Stop if there is a request, and remove the request.

    Raises:
        StopRequestedError: If there is a request.
    """
    if _request(run).is_file():
        forget_request(run)
        raise StopRequestedError(f"run {run.key} is stopped on request; run the same command again to resume")


def forget_request(run: Run) -> None:
    """Remove a request to an earlier process, and a folder of this name, which would keep others from asking.

    Raises:
        StoreWriteError: If it cannot be removed.
    """
    with writing(_request(run)):
        remove(_request(run))


def ask_to_stop(name: str, *, now: bool) -> str:
    """Ask the process that holds a run to stop; return a message.

    Args:
        name: The run's key.
        now: Whether to stop it at once, by SIGTERM, instead of at the end of its stage.

    Raises:
        ValueError: If no process holds the run, or, with `now`, a process of another machine or another user does.
    """
    run = find_run(name)
    holder = held_by(run.path)
    if holder is None:
        raise ValueError(f"Run {run.key} must be running to be stopped, but no process holds it.")
    if now and holder.host != socket.gethostname():
        raise ValueError(
            f"Run {run.key} must be held by a process of this machine to be stopped at once, got {holder}. Run the "
            "command there, or without --now: the run then stops at the end of its stage."
        )
    process = _own_process(holder, run.path / LOCK) if now else None
    forget_request(run)
    write_text(_request(run), f"{os.getpid()}\n")
    if process:
        process.terminate()
        return f"run {run.key}: {holder} stops at once; when the run resumes, it repeats the unfinished shard"
    return f"run {run.key}: {holder} stops at the end of its stage"


def _own_process(holder: Holder, lock: Path) -> psutil.Process:
    """Return the process of this user that holds a lock.

    The lock names a process, but another user or a copied folder may have written that name. So the process must have
    the lock file open too.

    Raises:
        ValueError: If it is not such a process; it gets no signal.
    """
    with suppress(psutil.Error):
        process = psutil.Process(holder.pid) if holder.pid > 1 else None
        if process and process.uids().real == os.getuid() and _has_open(process, lock):
            return process
    raise ValueError(
        f"A run is stopped at once by a signal to a process of yours that has {lock} open, got {holder}, which is no "
        "such process. Run the command without --now: the run then stops at the end of its stage."
    )


def _has_open(process: psutil.Process, path: Path) -> bool:
    return any(Path(file.path).samefile(path) for file in process.open_files() if Path(file.path).exists())


def _request(run: Run) -> Path:
    return run.path / "stop"
