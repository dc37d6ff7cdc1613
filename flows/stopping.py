"""How a command ends before its work does: by a person, or by a guard."""

import sys
from collections.abc import Generator
from contextlib import contextmanager

import typer

GUARDED = 3
"""Exit status of a command whose run a guard has ended."""


class StopAskedError(Exception):
    """Somebody has asked that the run stop; what it has finished lies in the store."""


class GuardStopError(Exception):
    """A guard has ended a run; what was found, what was kept, and how to go on."""


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
