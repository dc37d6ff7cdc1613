"""The folder of the real package hpsv2, made once for all test processes of a run."""

import fcntl
import os
from pathlib import Path

from flows.upkeep.setup_hps import setup_hps


def shared_hps_folder(tmp_path_factory) -> Path:
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder = base / "hps"
    with (base / "hps.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            setup_hps(folder)
    return folder
