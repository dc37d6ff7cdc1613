"""How a command ends that a person stops."""

import sys
from collections.abc import Generator
from contextlib import contextmanager

import typer

from flows.common.endings import StopAskedError


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
