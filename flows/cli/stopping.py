"""How a command ends when a person stops it."""

import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress

import typer

from flows.common.endings import StopRequestedError
from flows.common.escape import say

STOPPING = (signal.SIGTERM, signal.SIGHUP)
"""Signals at which a command ends as by an exit, with status 128 + the signal's number."""


@contextmanager
def stoppable() -> Generator[None]:
    """End a command at Ctrl-C, `g2rpo stop`, SIGTERM or SIGHUP with a message on how to continue."""
    try:
        yield
    except StopRequestedError as request:
        say(request, file=sys.stderr)
        raise typer.Exit(130) from None
    except KeyboardInterrupt:
        say("stopped; run the same command again to continue", file=sys.stderr)
        raise typer.Exit(130) from None
    except SystemExit as ended:
        for number in STOPPING:
            if ended.code == 128 + number:
                with suppress(OSError):  # after a hang-up the terminal is gone
                    message = f"stopped by {number.name}; run the same command again to continue"
                    say(message, file=sys.stderr, flush=True)
        raise
