"""Which code made a run: the git commit of this package, and whether files differed from it."""

import subprocess
from pathlib import Path


def git_state() -> dict[str, str]:
    """Return `git_commit` and `git_dirty` ("true" or "false"); empty outside a git checkout."""
    folder = Path(__file__).resolve().parent
    try:
        _git(folder, "ls-files", "--error-unmatch", Path(__file__).name)  # not somebody else's repository
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"git_commit": commit, "git_dirty": "true" if changed else "false"}


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", folder, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()
