"""What a command does when a person stops it."""

import sys
from collections.abc import Generator
from contextlib import contextmanager

import typer


@contextmanager
def stoppable() -> Generator[None]:
    """Let Ctrl-C end a command with a word on how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        print("stopped; give the same command again to go on", file=sys.stderr)
        raise typer.Exit(130) from None
