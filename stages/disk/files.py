"""Files that are either complete or absent, and their digests."""

import contextlib
import errno
import glob
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TEMPORARY = re.compile(r"\..+\.(\d+)(-[0-9a-f]{16})?(\.old)?\.tmp")
_MOST_JSON = 1 << 25  # bytes; a manifest of ten thousand shards has three million


class StoreWriteError(OSError):
    """A file could not be written; the message names it and the remedy. The former file is intact."""


@contextlib.contextmanager
def writing(path: Path) -> Generator[None]:
    """Turn a failure of the disk into a plain message.

    Raises:
        StoreWriteError: With the path, the message of the system, and the remedy.
    """
    try:
        yield
    except StoreWriteError:
        raise  # it names the file itself
    except OSError as error:
        raise StoreWriteError(
            f"{path} must be written, got: {error.strerror or error}. Finished work is not lost: free some "
            "space or make the folder writable, then run the same command again."
        ) from error


@contextlib.contextmanager
def atomic(path: Path, mode: int = 0o666) -> Generator[Path]:
    """Yield a new, empty file beside `path`; at the end it is synced to disk and renamed to `path`.

    Its name is random, and nothing that exists is opened. Its mode is `mode` without the bits of the umask, also if a
    library in the block writes the file with another. If the block fails, `path` is as it was before and the temporary
    file is gone.

    Raises:
        StoreWriteError: If the disk is full or the folder read-only.
    """
    temporary = _beside(path)
    with writing(path):
        make_folder(path.parent)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        mode = stat.S_IMODE(os.fstat(handle).st_mode)
        os.close(handle)
        try:
            yield temporary
            temporary.chmod(mode)
            _sync(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync(path.parent)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Generator[Path]:
    """Yield a temporary folder beside `path`; at the end it is synced to disk and takes the place of `path`.

    Its files get the mode of the umask, except those that have other names elsewhere.

    Raises:
        StoreWriteError: If the disk is full or the folder read-only.
    """
    path = path.resolve()
    temporary = _beside(path)
    former = temporary.with_suffix(".old.tmp")
    with writing(path):
        if path.is_file():
            raise NotADirectoryError("A folder is required, there is a file of this name")
        make_folder(path.parent)
        for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):  # by a killed process
            remove(left)
        try:
            temporary.mkdir()
            mode = stat.S_IMODE(temporary.stat().st_mode) & 0o666
            yield temporary
            for inner in temporary.rglob("*"):
                if stat.S_ISREG(inner.lstat().st_mode) and inner.lstat().st_nlink == 1:
                    inner.chmod(mode)  # some libraries write files that only their owner may read
                _sync(inner)
            _sync(temporary)
            if path.exists():
                path.rename(former)
            temporary.rename(path)
        finally:
            if former.exists() and not path.exists():
                former.rename(path)
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(former, ignore_errors=True)
        _sync(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder and its parents, so that they survive a loss of power.

    Raises:
        StoreWriteError: If the disk is full or the folder above read-only.
    """
    with writing(path):
        for missing in reversed([folder for folder in (path, *path.parents) if not folder.exists()]):
            missing.mkdir(exist_ok=True)
            _sync(missing.parent)


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Hard-link a file under another name, whose folder is made if it is missing; without hard links, copy it.

    A file that has this name is replaced, and its bytes stay under the other names that it may have.
    """
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(Path(target))
    try:
        try:
            os.link(source, temporary)
        except OSError:  # another file system, or one without hard links; a full disk fails again
            shutil.copy2(source, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove half-written files of a killed process below a folder."""
    for path in list(folder.rglob(".*.tmp")):
        remove(path)


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with its contents; what a link leads to stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def writer_of(temporary: Path) -> int | None:
    """Return the id of the process that writes a temporary file or folder; None for another file."""
    name = _TEMPORARY.fullmatch(temporary.name)
    return int(name[1]) if name else None


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, atomically; keys keep their order."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Return the value of a JSON file.

    Raises:
        ValueError: If it is no JSON, too large, or nested too deep.
    """
    with path.open("rb") as file:
        raw = file.read(_MOST_JSON + 1)
    if len(raw) > _MOST_JSON:
        raise ValueError(f"{path} must be JSON of ours, got more than {_MOST_JSON:,} bytes.")
    try:
        return json.loads(raw.decode("utf-8"))
    except RecursionError as error:
        raise ValueError(f"{path} must be JSON of ours, got one that is nested too deep.") from error


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object with a seal, the digest of its other values, which reveals a later edit."""
    write_json(path, dict(value) | {"seal": value_digest(dict(value))})


def read_sealed(path: Path) -> dict[str, Any] | None:
    """Return a sealed JSON object without its seal; None if it is missing, damaged or edited."""
    try:
        value = read_json(path)
        seal = value.pop("seal")
        return value if seal == value_digest(value) else None
    except (OSError, ValueError, TypeError, AttributeError, KeyError):  # missing, or something else
        return None


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@dataclass(frozen=True)
class FileState:
    """The state of a file; the file is read again only if one of these has changed."""

    path: Path
    size: int
    inode: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, path: Path) -> "FileState":
        """Return the state of a file now."""
        stat = path.stat()
        return cls(path.absolute(), stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns)


def value_digest(value: Any) -> str:
    """Return the SHA-256 of a JSON value, in hex, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(8)}.tmp")


def _sync(path: Path) -> None:
    """Have the system write a file, or the entries of a folder, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP)):  # some network file systems cannot
            raise
    finally:
        os.close(handle)
