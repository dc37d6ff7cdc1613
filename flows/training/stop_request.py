"""A request to stop a run at the end of its stage: a file in its folder, for which the loop looks before each stage."""

import os
import signal
import socket
from pathlib import Path

from flows.common.endings import StopRequestedError
from stages.disk.files import write_text
from stages.store.lock import held_by
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
    """Remove a request to an earlier process."""
    _request(run).unlink(missing_ok=True)


def ask_to_stop(name: str, *, now: bool) -> str:
    """Ask the process that holds a run to stop; return a message.

    Args:
        name: The run's key.
        now: Whether to stop it at once, by SIGTERM, instead of at the end of its stage.

    Raises:
        ValueError: If no process holds the run, or, with `now`, a process of another machine does.
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
    write_text(_request(run), f"{os.getpid()}\n")
    if now:
        os.kill(holder.pid, signal.SIGTERM)
        return f"run {run.key}: {holder} stops at once; when the run resumes, it repeats the unfinished shard"
    return f"run {run.key}: {holder} stops at the end of its stage"


def _request(run: Run) -> Path:
    return run.path / "stop"
