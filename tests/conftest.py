"""Annotated shapes are executed: every call into g2rpo during the tests is checked by jaxtyping and beartype."""

import os
from pathlib import Path

from jaxtyping import install_import_hook

install_import_hook("g2rpo", "beartype.beartype")

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ |= {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}

TESTS = Path(__file__).parent
LONGEST_FIRST = ("pipelines", "flows")
"""Folders whose modules take minutes: begun first, they are not what one process is left with in the end."""


def pytest_collection_modifyitems(items):
    """Put the longest modules first; `make test` gives whole modules to its processes in this order."""
    items.sort(key=_place)


def _place(item):
    folder = item.path.relative_to(TESTS).parts[0]
    return LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else len(LONGEST_FIRST)
