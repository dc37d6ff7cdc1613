"""Loading without progress bars and without transformers' notices, which fill the logs of a scheduled run."""

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
