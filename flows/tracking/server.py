"""MLflow's server behind a login, for uvicorn: `uvicorn --factory flows.tracking.server:app`.

It serves the database that MLFLOW_TRACKING_URI names, and this store's artifacts. MLflow's own app with logins,
`mlflow server --app-name basic-auth`, trusts the pages of every port of the loopback.
"""

import os
import uuid

from flows.common.door import Door
from flows.common.login import stored_login
from flows.tracking.recordable import artifact_home

_ARTIFACTS = "mlflow-artifacts:/"  # clients send artifacts to the server


def app() -> Door:
    """Return MLflow's application behind the door; only `/health` is open.

    Raises:
        ValueError: If this store has no login.
    """
    login, database = stored_login(), os.environ["MLFLOW_TRACKING_URI"]
    if login is None:
        raise ValueError("A login is required to serve MLflow, got none. Run `g2rpo up`, which makes one.")
    os.environ |= _settings(database)
    from mlflow.server.fastapi_app import app as mlflow_app
    from mlflow.server.handlers import initialize_backend_stores

    initialize_backend_stores(database, database, _ARTIFACTS)
    return Door(mlflow_app, login, ["/health"])


def _settings(database: str) -> dict[str, str]:
    """Return the variables that `mlflow server` sets; the last two keep it from running code of its scorers."""
    from mlflow.server import constants

    return {
        constants.BACKEND_STORE_URI_ENV_VAR: database,
        constants.REGISTRY_STORE_URI_ENV_VAR: database,
        constants.ARTIFACT_ROOT_ENV_VAR: _ARTIFACTS,
        constants.ARTIFACTS_DESTINATION_ENV_VAR: str(artifact_home()),
        constants.SERVE_ARTIFACTS_ENV_VAR: "true",
        "_MLFLOW_SGI_NAME": "uvicorn",
        "_MLFLOW_SERVER_BOOT_ID": uuid.uuid4().hex,
        "_MLFLOW_IN_JOB_EXECUTOR": "false",
    }
