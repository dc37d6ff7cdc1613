"""What several processes of one test session need, made by the first that asks."""

import fcntl
import os
import shutil


def made_once(tmp_path_factory, name, make):
    """Return a folder of the session that `make(folder)` has filled; the others wait for it, and none may change it."""
    own = tmp_path_factory.getbasetemp()
    root = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    folder, done = root / name, root / f"{name}.done"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of one that did not come to its end
            make(folder)
            done.touch()
    return folder
