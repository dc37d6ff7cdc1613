"""The folder of the store."""

import os
from pathlib import Path


def store_root() -> Path:
    """Return the folder of the store: `$G2RPO_HOME`, else `.g2rpo` in the current folder.

    DVC sets `$DVC_ROOT` to its repository, even if `dvc exp run --temp` or `--queue` runs a command in a copy of it.
    The store is then that of the repository, so that a killed experiment can resume.
    """
    return Path(os.environ.get("DVC_ROOT", ""), os.environ.get("G2RPO_HOME") or ".g2rpo").resolve()
