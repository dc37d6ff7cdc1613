"""The other names of a damaged file: a copy that shares its bytes, such as DVC's cache, is damaged with it.

A file that nothing may read meanwhile is set aside rather than removed, so that its other names are not lost sight of.
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
"""Files that come out again with the same bytes; a manifest tells seconds and does not."""


@contextmanager
def mending_shared(found: Iterable[Damage]) -> Generator[None]:
    """Within it the damaged files are made again; at its end their other names get the same bytes.

    If the block fails, the other names stay as they are.

    Raises:
        StoreWriteError: If a shared file cannot be opened for writing.
    """
    paths = [damage.path for damage in found if damage.stage and damage.path.suffix in _REPEATABLE]
    hurt = {path: path if path.is_file() else _aside(path) for path in paths}
    shared = {path: there for path, there in hurt.items() if there.is_file() and there.stat().st_nlink > 1}
    with ExitStack() as opened:
        handles = {path: opened.enter_context(_open(there)) for path, there in shared.items()}
        yield
        for path, handle in handles.items():
            if path.is_file():
                os.ftruncate(handle, 0)
                with path.open("rb") as source, open(handle, "wb", closefd=False) as target:
                    shutil.copyfileobj(source, target)
                os.fsync(handle)


def set_aside(path: Path) -> None:
    """Rename a damaged file to one that no reader looks for; `mending_shared` still finds its other names."""
    if path.is_file():
        with writing(path):
            path.rename(_aside(path))


def drop_aside(folder: Path, keep: Collection[Path] = ()) -> None:
    """Remove what was set aside below a folder, but for the files in `keep`, by the names that they had."""
    kept = {_aside(path) for path in keep}
    for path in folder.rglob(f".*{_ASIDE}"):
        if path not in kept:
            path.unlink()


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}{_ASIDE}")


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
