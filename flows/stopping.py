"""How a command ends before its work does: by a person, or by a guard."""

import os
import sys
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager, suppress

import typer

GUARDED = 3
"""Exit status of a command whose run a guard has ended."""


class RunnersLostError(RuntimeError):
    """Too many runners were lost, or none can be had; what is finished lies in the store."""


class StopAskedError(Exception):
    """Somebody has asked that the run stop; what it has finished lies in the store."""


class GuardStopError(Exception):
    """A guard has ended a run; what was found, what was kept, and how to go on."""


def end_without_server(status: int | str | None) -> None:
    """End this process at once if it has worked under a Prefect server that is gone.

    Prefect would try for minutes, at the end of the process, to send the events that it has queued. What a run has
    come to lies on disk.
    """
    if "flows.prefect_run" not in sys.modules:
        return
    from flows.train import prefect_api

    api = prefect_api()
    try:
        with urllib.request.urlopen(f"{api}/health", timeout=10):
            return
    except OSError:
        told = f"warning: the Prefect server at {api} is gone; its page does not show how this ended"
    with suppress(OSError):
        print(told, file=sys.stderr, flush=True)
        sys.stdout.flush()
    os._exit(status if isinstance(status, int) else 0 if status is None else 1)


@contextmanager
def stoppable() -> Generator[None]:
    """Let Ctrl-C, or a request by `g2rpo stop`, end a command with a word on how to go on."""
    try:
        yield
    except StopAskedError as asked:
        print(asked, file=sys.stderr)
        raise typer.Exit(130) from None
    except KeyboardInterrupt:
        print("stopped; give the same command again to go on", file=sys.stderr)
        raise typer.Exit(130) from None
