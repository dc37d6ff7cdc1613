"""MLflow's SQLite file, created whole or not at all.

MLflow creates its schema by migrations outside a transaction, and cannot use one that a kill has left half made.
"""

import fcntl
import shutil
from pathlib import Path

_SQLITE = "sqlite:///"


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a `sqlite:///` tracking URI, or None for another URI."""
    return Path(uri.removeprefix(_SQLITE).partition("?")[0]) if uri.startswith(_SQLITE) else None


def make_database(uri: str) -> None:
    """Create the file of a `sqlite:///` tracking URI if it is missing: build it beside its place, then rename it."""
    path = sqlite_file(uri)
    if path is None:
        return
    making = path.with_name(f".{path.name}.tmp")
    if path.exists() and not making.exists():
        return
    from mlflow.tracking import MlflowClient

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run of the store may be making it
        shutil.rmtree(making, ignore_errors=True)
        if not path.exists():
            making.mkdir()
            MlflowClient(tracking_uri=f"{_SQLITE}{making / path.name}").search_experiments(max_results=1)
            (making / path.name).rename(path)
        shutil.rmtree(making, ignore_errors=True)
