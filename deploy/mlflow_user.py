"""Create a user of MLflow without an administrator's rights, or change the user's password.

MLFLOW_TRACKING_URI names the server; MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD log the administrator in,
MLFLOW_USER and MLFLOW_USER_PASSWORD are for the user. It can run again.
"""

from os import environ

from mlflow.exceptions import MlflowException
from mlflow.server import get_app_client

users = get_app_client("basic-auth", tracking_uri=environ["MLFLOW_TRACKING_URI"])
name, password = environ["MLFLOW_USER"], environ["MLFLOW_USER_PASSWORD"]
try:
    users.create_user(name, password)
except MlflowException as error:
    if error.error_code != "RESOURCE_ALREADY_EXISTS":
        raise
    users.update_user_password(name, password)
