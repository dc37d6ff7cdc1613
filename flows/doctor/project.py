"""The project's folder: git and DVC."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

from flows.common.git import GitError, git, repository
from flows.doctor.check import Check


def versioning() -> Iterator[Check]:
    """Check that code and artifacts are versioned here."""
    yield _git()
    if not Path(".dvc").is_dir():
        yield Check("dvc", "warn", "this folder is no DVC repository: `dvc repro` does not work here", "dvc init")
    elif not _output("dvc", "remote", "list"):
        remedy = "dvc remote add --default NAME URL, to share the artifacts."
        yield Check("dvc", "warn", "no remote: `dvc push` has nowhere to go", remedy)
    else:
        yield Check("dvc", "ok", f"cache links: {_output('dvc', 'config', 'cache.type') or 'reflink, copy'}")


def _git() -> Check:
    here = Path.cwd()
    if repository(here) is None:
        return Check("git", "warn", "this folder is no git repository: runs cannot record their commit", "git init")
    try:
        git(here, "rev-parse", "HEAD")
    except GitError as error:
        return Check("git", "warn", f"runs cannot record their commit: {error}", error.remedy)
    return Check("git", "ok", "a repository")


def _output(*words: str) -> str | None:
    try:
        done = subprocess.run(words, capture_output=True, encoding="utf-8", check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
