"""The other names of a damaged file: a copy that shares its bytes, such as DVC's cache, is damaged with it."""

import os
import shutil
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager
from pathlib import Path

from stages.disk.files import writing
from stages.integrity.damage import Damage

_REPEATABLE = (".parquet", ".safetensors")
"""Files that come out again with the same bytes; a manifest tells seconds and does not."""


@contextmanager
def mending_shared(found: Iterable[Damage]) -> Generator[None]:
    """Within it the damaged files are made again; at its end their other names get the same bytes.

    If the block fails, the other names stay as they are.

    Raises:
        StoreWriteError: If a shared file cannot be opened for writing.
    """
    paths = [damage.path for damage in found if damage.stage and damage.path.suffix in _REPEATABLE]
    shared = [path for path in paths if path.is_file() and path.stat().st_nlink > 1]
    with ExitStack() as opened:
        handles = {path: opened.enter_context(_open(path)) for path in shared}
        yield
        for path, handle in handles.items():
            if path.is_file():
                os.ftruncate(handle, 0)
                with path.open("rb") as source, open(handle, "wb", closefd=False) as target:
                    shutil.copyfileobj(source, target)
                os.fsync(handle)


@contextmanager
def _open(path: Path) -> Generator[int]:
    """Open a file to write to, also a protected one, as DVC leaves them; its mode is put back."""
    mode = path.stat().st_mode
    with writing(path):
        path.chmod(mode | 0o200)
        handle = os.open(path, os.O_WRONLY)
    try:
        yield handle
    finally:
        os.fchmod(handle, mode)
        os.close(handle)
