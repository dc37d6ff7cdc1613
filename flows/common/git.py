"""Questions to git, and why it does not answer them."""

import os
import subprocess
from pathlib import Path

_SECONDS = 60


class GitError(Exception):
    """Git does not answer; the message is its own, and `remedy` what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        self.remedy = remedy
        super().__init__(message)


def git(folder: Path, *words: str) -> str:
    """Return what git prints for a folder.

    Raises:
        GitError: If there is no git, or it refuses, such as a repository of another owner.
    """
    plain = os.environ | {"LC_ALL": "C"}
    command = ["git", "-C", str(folder), *words]
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, encoding="utf-8", errors="replace", env=plain, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GitError(f"git cannot be run: {error}", "Install git.") from error
    if done.returncode:
        message = (done.stderr.splitlines() or ["no message"])[0]
        owner = f"git config --global --add safe.directory {repository(folder)}"
        raise GitError(message, owner if "dubious ownership" in message else "Correct this in the repository.")
    return done.stdout.strip()


def repository(folder: Path) -> Path | None:
    """Return the repository that holds a folder, whoever owns it; None if there is none."""
    return next((each for each in (folder, *folder.parents) if (each / ".git").exists()), None)
