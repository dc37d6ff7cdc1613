"""Addresses of servers and databases, and the logins that they may hold."""

import re
from typing import Annotated

from pydantic import AfterValidator

from stages.params.names import Text

_LOGIN = re.compile(r"(:/{1,2})(?:[^\s'\"/:@]*:(?!\d+/)[^\s'\"]*|[^\s'\"/]*)@")
"""A name and a password before the host. Databases take a password with @ and / unescaped: it ends with the last @.

An address that was taken for a path has one slash.
"""
_NAMED = re.compile(r"(?i)([?&;](?:[a-z_]*password|passwd|pwd|[a-z_]*token|[a-z_]*secret)=)[^&;\s'\"]+")
"""A password among the settings of a database."""


def without_login(text: str) -> str:
    """Return an address, or a message with addresses, with *** in place of each login.

    Example: `postgresql://***@db/mlflow` for `postgresql://lead:secret@db/mlflow`.
    """
    return _NAMED.sub(r"\1***", _LOGIN.sub(r"\1***@", text))


def _refuse_login(address: str) -> str:
    shown = without_login(address)
    if shown != address:
        raise ValueError(
            f"an address without a login is required, since parameters are stored with each run, got {shown}. Put the "
            "login into the environment: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, the whole address into "
            "MLFLOW_TRACKING_URI, or a reward's token into the variable that token_env names"
        )
    return address


Address = Annotated[Text, AfterValidator(_refuse_login)]
"""An address without a login: parameters are stored in the run's folder, in MLflow and at Prefect."""
