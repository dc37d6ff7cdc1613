"""Python and packages: the requirements of pyproject.toml, and why some versions do not work."""

import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from flows.doctor.check import Check

_WHY = {
    "fastapi": "under 0.151 and later every Prefect flow and server dies",
    "sqlalchemy": "under 2.1 Prefect's scheduler fails, and no schedule ever fires",
    "pyarrow": "MLflow 3.17 does not know 26",
    "prefect": "flows, deployments and automations were tested with 3.8",
    "mlflow": "the pages were tested with 3.17",
}


def packages() -> Iterator[Check]:
    """Compare the installed packages with the requirements of this package."""
    from packaging.requirements import Requirement

    good = sys.version_info >= (3, 11)
    yield Check(
        "python", "ok" if good else "fault", platform.python_version(), "" if good else "Use Python 3.11 or later."
    )
    wrong = False
    for line in requires("g2rpo") or []:
        required = Requirement(line)
        if required.marker and not required.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = version(required.name)
        except PackageNotFoundError:
            installed = None
        if installed is not None and required.specifier.contains(installed, prereleases=True):
            continue
        wrong = True
        why = f": {_WHY[required.name]}" if required.name in _WHY else ""
        message = f"{required} is required, got {installed or 'none'}{why}"
        remedy = f"pip install '{required}', or `make demo`, which installs the tested versions."
        yield Check(required.name, "fault", message, remedy)
    if not wrong:
        yield Check("packages", "ok", "all as pyproject.toml requires")
