"""Small comparisons as a user makes them: a plan in a file, the command in a process, a store of its own."""

import csv
import json
import os
import subprocess
import sys
import urllib.request
from copy import deepcopy
from pathlib import Path

import yaml
from tiny import ROOT, TINY

SMALL = dict(override.split("=", 1) for override in TINY if not override.startswith("run."))
PLAN = {
    "title": "Granularities",
    "params": str(ROOT / "params.yaml"),
    "set": {key: yaml.safe_load(value) for key, value in SMALL.items()} | {"evaluate.every": 2},
    "budget": 230,  # two rounds: one costs 92 or 80
    "seeds": [7, 8],
    "processes": 2,
    "methods": {"fine": {"set": {"complete.granularities": [1]}}, "coarse": {"set": {"complete.granularities": [2]}}},
    "reference": "fine",
    "metric": "rule_soft",
    "split": "test",
}
"""Four runs of two rounds."""


def write_plan(folder: Path, name: str = "small", **changes) -> Path:
    """The plan with other keys, as a file; None takes a key out, and a grid goes by the tuning captions."""
    plan = deepcopy(PLAN) | ({"split": "tuning"} if "grid" in changes else {}) | changes
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in plan.items() if value is not None}, sort_keys=False))
    return path


class Comparing:
    """`g2rpo compare` with a store of its own."""

    def __init__(self, folder: Path):
        self.folder, self.store = folder, folder / "store"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_API", "MLFLOW_TRACKING"))}
        self.environment = inherited | {"G2RPO_HOME": str(self.store), "PREFECT_HOME": str(folder / "prefect")}

    def words(self, plan: Path, out: str = "out") -> list[str]:
        return [sys.executable, "-m", "flows", "compare", "--plan", str(plan), "--out", str(self.folder / out)]

    def __call__(self, plan: Path, out: str = "out", **environment) -> subprocess.CompletedProcess[str]:
        environment = self.environment | environment
        return subprocess.run(
            self.words(plan, out), cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )

    def started(self, plan: Path, out: str = "out") -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self.words(plan, out), cwd=ROOT, env=self.environment, stderr=subprocess.DEVNULL, start_new_session=True
        )


def ask(api: str, path: str, body: dict) -> list:
    """What a Prefect server answers."""
    request = urllib.request.Request(
        f"{api}/{path}", data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, as texts."""
    with path.open() as file:
        return list(csv.DictReader(file))


def numbers(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file without what a repetition need not reproduce."""
    return [{name: value for name, value in row.items() if "seconds" not in name} for row in table(path)]
