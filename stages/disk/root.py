"""Where the store lies."""

import os
from pathlib import Path


def store_root() -> Path:
    """Return the folder of the store: `$G2RPO_HOME`, else `.g2rpo` in the current folder.

    DVC names its repository in `$DVC_ROOT`, also where `dvc exp run --temp` and `--queue` run a command in a copy of
    it: the store is then that of the repository, so that an experiment that was killed goes on.
    """
    return Path(os.environ.get("DVC_ROOT", ""), os.environ.get("G2RPO_HOME") or ".g2rpo").resolve()
