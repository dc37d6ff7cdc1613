"""How a command ends when a person stops it."""

import sys
from collections.abc import Generator
from contextlib import contextmanager

import typer

from flows.common.endings import StopRequestedError


@contextmanager
def stoppable() -> Generator[None]:
    """End a command at Ctrl-C or `g2rpo stop` with a message on how to continue."""
    try:
        yield
    except StopRequestedError as request:
        print(request, file=sys.stderr)
        raise typer.Exit(130) from None
    except KeyboardInterrupt:
        print("stopped; run the same command again to continue", file=sys.stderr)
        raise typer.Exit(130) from None
