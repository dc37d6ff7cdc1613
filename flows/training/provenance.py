"""Where a run comes from: the git commit of this package, and the DVC experiment that started it."""

import os
import sys
from pathlib import Path

from flows.common.escape import say
from flows.common.git import GitError, git, repository
from stages.disk.files import file_digest, value_digest

_DVC = {"DVC_EXP_NAME": "dvc_experiment", "DVC_EXP_BASELINE_REV": "dvc_baseline"}
"""Variables that DVC sets for the commands of an experiment."""


def origin_links() -> dict[str, str]:
    """Return `git_commit` and `git_dirty`, and within a DVC experiment `dvc_experiment` and `dvc_baseline`."""
    return _git_state() | {name: os.environ[key] for key, name in _DVC.items() if os.environ.get(key)}


def versions() -> dict[str, str]:
    """Return the version of `torch`, and a digest of the `code` that makes the numbers: g2rpo and stages."""
    import torch

    root = Path(__file__).resolve().parents[2]
    files = sorted(path for name in ("g2rpo", "stages") for path in (root / name).rglob("*.py"))
    return {"torch": torch.__version__, "code": value_digest([file_digest(path) for path in files])[:12]}


def _git_state() -> dict[str, str]:
    """Return `git_commit` and `git_dirty` ("true" or "false"); empty outside a git checkout.

    If git refuses, such as a checkout of another owner, a warning says so, and the run goes on.
    """
    folder = Path(__file__).resolve().parent
    if repository(folder) is None:
        return {}
    try:
        commit = git(folder, "rev-parse", "HEAD")
        if not git(folder, "ls-files", Path(__file__).name):  # another repository
            return {}
        changed = git(folder, "status", "--porcelain", "--untracked-files=no")
    except GitError as error:
        message = f"warning: the run cannot record its git commit: {error}. To record it: {error.remedy}"
        say(message, file=sys.stderr, flush=True)
        return {}
    return {"git_commit": commit, "git_dirty": "true" if changed else "false"}
