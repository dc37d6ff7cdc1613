"""Annotated shapes are executed: every call into g2rpo during the tests is checked by jaxtyping and beartype."""

import os

from jaxtyping import install_import_hook

install_import_hook("g2rpo", "beartype.beartype")

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ |= {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
