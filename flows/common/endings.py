"""How a command ends before its work is done: by a person, by a guard, by lost runners or a lost server."""

import os
import sys
from contextlib import suppress
from http import HTTPStatus

from flows.common.escape import say
from flows.common.servers import ask
from stages.params.addresses import without_login

GUARDED = 3
"""Exit status of a command if a guard has ended its run."""


_SERVERS = set[str]()
"""Prefect APIs that this process has used."""


class RunnersLostError(RuntimeError):
    """Too many runners were lost, or none starts; finished work is in the store."""


class StopRequestedError(Exception):
    """Somebody has requested that the run stop; its finished work is in the store."""


class GuardStopError(Exception):
    """A guard has ended a run. The message says what it found, what was exported, and how to continue."""


def remember_server(api: str) -> None:
    """Note that this process uses a Prefect API, so that `end_without_server` checks whether it still answers."""
    _SERVERS.add(api)


def end_without_server(status: int | str | None) -> None:
    """End this process at once if it has used a Prefect server that is gone.

    Otherwise Prefect would try for minutes, at the end of the process, to send its queued events. The results of a
    run are on disk.
    """
    gone = [api for api in _SERVERS if ask(f"{api}/health").status != HTTPStatus.OK]
    if not gone:
        return
    with suppress(OSError):
        shown = without_login(gone[0])
        warning = f"warning: the Prefect server at {shown} is gone; its page does not show how this ended"
        say(warning, file=sys.stderr, flush=True)
        sys.stdout.flush()
    os._exit(status if isinstance(status, int) else 0 if status is None else 1)
