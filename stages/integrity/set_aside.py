"""Damaged files that are set aside: renamed, so that no reader finds them until they are made again.

A file is always made again under its name, never written in place. So another name of a damaged file, in DVC's cache or
anywhere on the disk, keeps its bytes: a stranger may have made that name, and its file may be anybody's.
"""

import os
from collections.abc import Collection
from pathlib import Path

from stages.disk.files import writing

_ASIDE = ".damaged"


def set_aside(path: Path) -> None:
    """Rename a damaged file so that no reader finds it."""
    if os.path.lexists(path):
        with writing(path):
            path.rename(_aside(path))


def drop_aside(folder: Path, keep: Collection[Path] = ()) -> None:
    """Remove renamed files below a folder, except those in `keep`, given by their original names."""
    kept = {_aside(path) for path in keep}
    for path in folder.rglob(f".*{_ASIDE}"):
        if path not in kept and not path.is_dir():
            path.unlink()


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}{_ASIDE}")
