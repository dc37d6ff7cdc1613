"""How a command ends before its work does: by a person, or by a guard."""

import os
import sys
from contextlib import suppress
from http import HTTPStatus

from flows.common.servers import reply

GUARDED = 3
"""Exit status of a command whose run a guard has ended."""


_SERVERS = set[str]()
"""Prefect APIs that this process has worked under."""


class RunnersLostError(RuntimeError):
    """Too many runners were lost, or none can be had; what is finished lies in the store."""


class StopAskedError(Exception):
    """Somebody has asked that the run stop; what it has finished lies in the store."""


class GuardStopError(Exception):
    """A guard has ended a run; what was found, what was kept, and how to go on."""


def remember_server(api: str) -> None:
    """Note that this process works under a Prefect API, so that its end looks whether that still answers."""
    _SERVERS.add(api)


def end_without_server(status: int | str | None) -> None:
    """End this process at once if it has worked under a Prefect server that is gone.

    Prefect would try for minutes, at the end of the process, to send the events that it has queued. What a run has
    come to lies on disk.
    """
    gone = [api for api in _SERVERS if reply(f"{api}/health") != HTTPStatus.OK]
    if not gone:
        return
    with suppress(OSError):
        warning = f"warning: the Prefect server at {gone[0]} is gone; its page does not show how this ended"
        print(warning, file=sys.stderr, flush=True)
        sys.stdout.flush()
    os._exit(status if isinstance(status, int) else 0 if status is None else 1)
