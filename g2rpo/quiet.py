"""Loading without progress bars and without the notices of libraries, which fill the logs of a scheduled run."""

from collections.abc import Generator
from contextlib import contextmanager

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging


@contextmanager
def quietly() -> Generator[None]:
    """Within the block, hide progress bars and all messages of transformers but errors; diffusers still warns."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    diffusers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        transformers_logging.enable_progress_bar()
        diffusers_logging.enable_progress_bar()


@contextmanager
def without_notices() -> Generator[None]:
    """Within the block, hide all messages of diffusers but errors, such as that attention backends are experimental."""
    verbosity = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity_error()
    try:
        yield
    finally:
        diffusers_logging.set_verbosity(verbosity)


@contextmanager
def without_warnings() -> Generator[None]:
    """Within the block, hide all messages of transformers and diffusers but errors, such as two for each long text."""
    with quietly(), without_notices():
        yield
