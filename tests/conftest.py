"""Annotated shapes are executed: every call into g2rpo during the tests is checked by jaxtyping and beartype."""

import os
import secrets
from pathlib import Path

from jaxtyping import install_import_hook

install_import_hook("g2rpo", "beartype.beartype")

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ |= {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
os.environ.setdefault("HOSTILE_SEED", str(secrets.randbelow(2**32)))  # here, so that all processes have the same

TESTS = Path(__file__).parent
LONGEST_FIRST = (
    "docs/test_tutorial.py",
    "flows/runners/test_real_ray_executor.py",
    "flows/services/test_up_and_down.py",
    "flows/compare/test_small_comparison.py",
    "pipelines/",
    "flows/report/test_after_a_demo.py",
    "flows/training/test_latent_runs.py",
    "flows/training/test_tracked_runs.py",
    "flows/runners/",
    "flows/export/",
    "flows/upkeep/",
    "flows/",
)
"""Where tests take minutes: begun first, they are not what one process is left with in the end."""


def pytest_collection_modifyitems(items):
    """Put the longest modules first; `make test` gives whole modules to its processes in this order."""
    items.sort(key=_place)


def _place(item):
    path = item.path.relative_to(TESTS).as_posix()
    return next((place for place, longest in enumerate(LONGEST_FIRST) if path.startswith(longest)), len(LONGEST_FIRST))


def pytest_terminal_summary(terminalreporter):
    """Print what the long campaigns of tests/hostile tried."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    properties = [each for report in reports for each in getattr(report, "user_properties", ())]
    for line in sorted({value for name, value in properties if name == "hostile" and "seed None" not in value}):
        terminalreporter.write_line(f"hostile inputs: {line}")
