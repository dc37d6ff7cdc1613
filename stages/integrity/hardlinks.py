"""Repair of hard links: a copy that shares the bytes of a damaged file, such as DVC's cache, is damaged with it.

A file that nothing may read meanwhile is renamed instead of removed, so that its other names can still be repaired.
"""

import os
import shutil
from collections.abc import Collection, Generator, Iterable
from contextlib import ExitStack, contextmanager
from pathlib import Path

from stages.disk.files import writing
from stages.integrity.damage import Damage

_ASIDE = ".damaged"
_REPEATABLE = (".parquet", ".safetensors")
"""Files that a repeated stage writes with the same bytes; a manifest contains seconds and differs."""


@contextmanager
def mending_shared(found: Iterable[Damage]) -> Generator[None]:
    """In its block the caller makes the damaged files again; at its end their other hard links get the same bytes.

    If the block fails, the other names stay as they are.

    Raises:
        StoreWriteError: If a shared file cannot be opened for writing.
    """
    paths = [damage.path for damage in found if damage.stage and damage.path.suffix in _REPEATABLE]
    damaged = {path: path if path.is_file() else _aside(path) for path in paths}
    shared = {path: file for path, file in damaged.items() if file.is_file() and file.stat().st_nlink > 1}
    with ExitStack() as opened:
        handles = {path: opened.enter_context(_open(file)) for path, file in shared.items()}
        yield
        for path, handle in handles.items():
            if path.is_file():
                os.ftruncate(handle, 0)
                with path.open("rb") as source, open(handle, "wb", closefd=False) as target:
                    shutil.copyfileobj(source, target)
                os.fsync(handle)


def set_aside(path: Path) -> None:
    """Rename a damaged file so that no reader finds it; `mending_shared` still finds its other names."""
    if path.is_file():
        with writing(path):
            path.rename(_aside(path))


def drop_aside(folder: Path, keep: Collection[Path] = ()) -> None:
    """Remove renamed files below a folder, except those in `keep`, given by their original names."""
    kept = {_aside(path) for path in keep}
    for path in folder.rglob(f".*{_ASIDE}"):
        if path not in kept:
            path.unlink()


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}{_ASIDE}")


@contextmanager
def _open(path: Path) -> Generator[int]:
    """Open a file for writing, also a read-only one of DVC; restore its mode at the end."""
    mode = path.stat().st_mode
    with writing(path):
        path.chmod(mode | 0o200)
        handle = os.open(path, os.O_WRONLY)
    try:
        yield handle
    finally:
        os.fchmod(handle, mode)
        os.close(handle)
