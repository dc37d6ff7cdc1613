"""Where MLflow is, and whether it can record a run: asked before anything is computed."""

import errno
import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit
from urllib.request import url2pathname

from flows.common.servers import REFUSED, Server, ServerError, basic, require_version
from flows.tracking.database import sqlite_file
from g2rpo.messages import shown
from stages.disk.root import store_root
from stages.params.addresses import without_login
from stages.params.record import Params

if TYPE_CHECKING:
    from mlflow.entities import Experiment
    from mlflow.tracking import MlflowClient

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # a run does not wait for a server that is gone
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

_DATABASE_SECONDS = 20

_STORES = ("mlflow-artifacts", "http", "https", "s3", "r2", "b2", "gs", "wasbs", "abfss", "dbfs", "hdfs", "sftp")
"""Schemes of places of artifacts that are no folder of this machine."""
_CORRECT = "correct tracking.uri or MLFLOW_TRACKING_URI"
_LOGIN = "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to a login of this server"


def tracking_uri(params: Params) -> str:
    """Return the tracking URI: tracking.uri, else MLFLOW_TRACKING_URI, else a SQLite file in the store."""
    return params.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or _own_database()


def artifact_home() -> Path:
    """Return the folder of the artifacts of experiments in the store's own database."""
    return store_root() / "mlartifacts"


def require_tracking(params: Params) -> str:
    """Refuse an MLflow that cannot record a run; return a warning if it records pictures outside a moved store.

    Raises:
        ServerError: If it does not answer, refuses the login, has the experiment as deleted, or if its database or
            artifacts cannot be written to.
    """
    uri = tracking_uri(params)
    if uri.startswith("http"):
        require_mlflow(uri)
    return require_experiment(params)


def require_experiment(params: Params) -> str:
    """Check as `require_tracking`, but for a server: that it answers was asked before.

    Raises:
        ServerError: As `require_tracking`.
    """
    uri, name = tracking_uri(params), params.tracking.experiment
    if file := sqlite_file(uri):
        _require_writable(file, f"The database of MLflow at {file}", f"Make it so, or {_CORRECT}.")
        if not file.exists():
            return ""
    with answering(uri):
        from mlflow.tracking import MlflowClient

        if uri.startswith(("postgresql", "mysql")):
            _connect(uri)
        experiment = MlflowClient(tracking_uri=uri).get_experiment_by_name(name)
    if experiment is None:
        return ""
    if experiment.lifecycle_stage == "deleted":
        restore = f"mlflow experiments restore --experiment-id {experiment.experiment_id}"
        raise ServerError(
            f"The MLflow experiment {name!r} must be active at {without_login(uri)}, got deleted",
            f"Run `{restore}` with this MLFLOW_TRACKING_URI, or set tracking.experiment to another name.",
        )
    return _checked_artifacts(experiment, own=uri == _own_database())


def require_mlflow(uri: str) -> str:
    """Return the version of a tracking server, which must answer with the configured login.

    Raises:
        ServerError: If it does not.
    """
    from mlflow.utils.credentials import read_mlflow_creds

    login, token = read_mlflow_creds(), os.environ.get("MLFLOW_TRACKING_TOKEN")
    own = basic(f"{login.username or ''}:{login.password or ''}")
    bearer = {"Authorization": f"Bearer {token}"} if token else {}
    server = Server(
        "mlflow",
        "the MLflow server",
        uri.rstrip("/"),
        "/version",
        remedy=f"Start it, or {_CORRECT}.",
        login=f"{_LOGIN}.",
        headers=own or bearer,
    )
    return require_version(server)


def require_place(client: "MlflowClient", uri: str, of: str, kind: Literal["run", "logged_model"] = "run") -> None:
    """Refuse a server that has artifacts written to a folder of this machine other than the store's own.

    It names the place in its reply, so it would choose which files here are overwritten. MLflow's client asks for the
    place once and keeps it, so no later reply changes it.

    Args:
        client: The client that logs the artifacts.
        uri: The tracking URI.
        of: Id of the run or model.
        kind: What the id names.

    Raises:
        ServerError: With the place.
    """
    if not uri.startswith("http"):
        return
    place = client._tracking_client._get_artifact_repo(of, resource=kind).artifact_uri  # noqa: SLF001 (no public way)
    parts = urlsplit(place)
    here = parts.scheme in ("", "file") and Path(url2pathname(parts.path)).resolve()
    if parts.scheme not in _STORES and not (here and here.is_relative_to(artifact_home().resolve())):
        raise ServerError(
            f"The MLflow server at {without_login(uri)} must keep artifacts itself or in a bucket, got the place "
            f"{shown(place)}, which may be any folder of this machine",
            "Start it with --serve-artifacts and set tracking.experiment to a new name. Nothing was written there.",
        )


@contextmanager
def answering(uri: str) -> Generator[None]:
    """Turn errors of MLflow into a message with a remedy for the cause.

    Raises:
        ServerError: With its URI.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    logging.getLogger("mlflow").setLevel(logging.CRITICAL)  # failures are raised and reported once
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
        message = (str(error).splitlines() or [type(error).__name__])[0]
        raise ServerError(
            f"MLflow must be able to record the run at {without_login(uri)}, got: {message.rstrip('.')}",
            f"{_remedy(error)}; then run the same command again. Nothing is lost.",
        ) from error


def _connect(uri: str) -> None:
    """Connect to a database once; MLflow would try for a minute and a half."""
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    engine = create_engine(uri, poolclass=NullPool, connect_args={"connect_timeout": _DATABASE_SECONDS})
    engine.connect().close()


def _own_database() -> str:
    return f"sqlite:///{store_root() / 'mlflow.db'}"


def _remedy(error: Exception) -> str:
    from mlflow.exceptions import MlflowException

    text = str(error).lower()
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "disk is full" in text or "no space" in text:
        return "Make room"
    if isinstance(error, MlflowException) and error.get_http_status_code() in REFUSED:
        return _LOGIN
    if isinstance(error, ImportError):
        return "Install what this kind of database needs"
    if isinstance(error, PermissionError) or "readonly" in text or "unable to open database" in text:
        return "Make its files and their folder writable"
    return f"Start it, or {_CORRECT}"


def _checked_artifacts(experiment: "Experiment", *, own: bool) -> str:
    """Refuse a local home of artifacts that cannot be written to; return a warning if the store has left it behind."""
    parts = urlsplit(experiment.artifact_location)
    if parts.scheme not in ("", "file"):
        return ""
    place = Path(url2pathname(parts.path))
    new_name = "set tracking.experiment to another name"
    what = f"The artifacts of the MLflow experiment {experiment.name!r} in {place}"
    _require_writable(place, what, f"Make the folder so, or {new_name}.")
    if own and not place.is_relative_to(artifact_home()):
        return (
            f"the store has moved, but MLflow keeps the pictures of the experiment {experiment.name!r} in {place}: "
            f"{new_name} to keep those of new runs in the store"
        )
    return ""


def _require_writable(path: Path, what: str, remedy: str) -> None:
    """Refuse a file or folder that cannot be written or made."""
    nearest = next(each for each in (path, *path.parents) if os.path.lexists(each))
    needed = os.W_OK if nearest == path and path.is_file() else os.W_OK | os.X_OK
    if not os.access(nearest, needed) or (nearest != path and not nearest.is_dir()):
        read_only = os.statvfs(nearest).f_flag & os.ST_RDONLY
        got = "a read-only file system at" if read_only else "no permission to write to"
        raise ServerError(f"{what} must be writable, got {got} {nearest}", remedy)
