"""Processes that a command has left behind."""

import contextlib
from pathlib import Path

GONE = 2**22 + 1
"""Above the largest process id of Linux."""


def processes_with(entry):
    """Ids of the processes that have an entry in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if entry.encode() in path.read_bytes().split(b"\0"):
                found.append(path.parent.name)
    return found
