"""Folders and files that only their owner may read."""

import os
from pathlib import Path

from stages.disk.files import atomic, make_folder, writing


def private_folder(path: Path) -> Path:
    """Make a folder if it is missing, close it to all other users, and return it.

    Raises:
        StoreWriteError: If it cannot be made, or belongs to somebody else.
    """
    make_folder(path)
    with writing(path):
        path.chmod(0o700)
    return path


def write_private(path: Path, text: str) -> None:
    """Write a text file with mode 0600, atomically: nobody else can read it at any moment.

    Raises:
        StoreWriteError: If the disk is full or the folder read-only.
    """
    with atomic(path, mode=0o600) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_private(path: Path) -> str | None:
    """Return the text of a file that only this user can read; None if it is missing.

    Raises:
        ValueError: If others can read it, or it belongs to somebody else, or it is a link.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), encoding="utf-8") as file:
            about = os.fstat(file.fileno())
            if about.st_uid == os.geteuid() and not about.st_mode & 0o077:
                return file.read()
            got = f"mode {about.st_mode & 0o777:04o} of user {about.st_uid}"
    except FileNotFoundError:
        return None
    except OSError as error:
        got = error.strerror or str(error)
    raise ValueError(
        f"{path} must be a file of yours that nobody else can read (mode 0600), got: {got}. If it is yours, remove it "
        "and run `g2rpo up`, which makes another; if not, set G2RPO_HOME to a store of your own."
    )
