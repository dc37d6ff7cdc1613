"""Loading without progress bars and without transformers' notices, which fill the logs of a scheduled run."""

from collections.abc import Generator
from contextlib import contextmanager

from diffusers.utils import logging as of_diffusers
from transformers.utils import logging as of_transformers


@contextmanager
def quietly() -> Generator[None]:
    """Show no progress bars and only errors of transformers for a while; warnings of diffusers stay."""
    verbosity = of_transformers.get_verbosity()
    of_transformers.set_verbosity_error()
    of_transformers.disable_progress_bar()
    of_diffusers.disable_progress_bar()
    try:
        yield
    finally:
        of_transformers.set_verbosity(verbosity)
        of_transformers.enable_progress_bar()
        of_diffusers.enable_progress_bar()
