"""Python and packages: what pyproject.toml requires, and what is known not to work."""

import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from flows.doctor.check import Check

_WHY = {
    "fastapi": "under 0.151 and later every Prefect flow and server dies",
    "sqlalchemy": "under 2.1 Prefect's scheduler fails, and no schedule ever fires",
    "pyarrow": "MLflow 3.17 does not know 26",
    "prefect": "flows, deployments and automations were tried with 3.8",
    "mlflow": "the pages were tried with 3.17",
}


def packages() -> Iterator[Check]:
    """Compare what is installed with what this package requires."""
    from packaging.requirements import Requirement

    told = f"{platform.python_version()}"
    good = sys.version_info >= (3, 11)
    yield Check("python", "ok" if good else "fault", told, "" if good else "Take Python 3.11 or later.")
    wrong = False
    for line in requires("g2rpo") or []:
        required = Requirement(line)
        if required.marker and not required.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(required.name)
        except PackageNotFoundError:
            found = None
        if found is not None and required.specifier.contains(found, prereleases=True):
            continue
        wrong = True
        why = f": {_WHY[required.name]}" if required.name in _WHY else ""
        told = f"{required} is required, got {found or 'none'}{why}"
        remedy = f"pip install '{required}', or `make demo`, which installs what was tried."
        yield Check(required.name, "fault", told, remedy)
    if not wrong:
        yield Check("packages", "ok", "all as pyproject.toml requires")
