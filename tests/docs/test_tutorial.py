"""The tutorial, command by command, in a folder as of a fresh clone."""

import os
import re
import subprocess

import pytest
from logged_in import ask, session_of
from tiny import ROOT
from working_tree import copy_working_tree

from flows.services.service import answers
from stages.store.run import Run

pytestmark = pytest.mark.slow


def blocks():
    """The shell blocks of the tutorial, in order."""
    return re.findall(r"```sh\n(.*?)```", (ROOT / "docs/tutorial.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The working tree with its environment; what the tutorial starts is stopped in the end."""
    folder = tmp_path_factory.mktemp("tutorial") / "g2rpo"
    copy_working_tree(folder)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    for name in ("pyproject.toml", "constraints.txt"):
        os.utime(folder / name, (0, 0))  # what is installed is not installed anew, from this folder
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    yield folder
    bash(folder, ". .venv/bin/activate; g2rpo down")


def bash(folder, script):
    hidden = ("PREFECT_", "MLFLOW_", "G2RPO_", "PYTHONPATH", "VIRTUAL_ENV")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
    words = ["bash", "-euo", "pipefail", "-c", script]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_each_command_of_the_tutorial_does_what_it_says(clone):
    done = bash(clone, "\n".join(blocks()[:-1]))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    runs = [Run(path) for path in (clone / ".g2rpo/runs").iterdir()]
    assert sorted(run.num_finished for run in runs)[-3:] == [30, 30, 30]
    for page in ("report/report.html", "diff/diff.html", "compare/first/report.html", "policy/README.md"):
        assert (clone / "outputs" / page).is_file()
    said = bash(clone, ". .venv/bin/activate; g2rpo status --env").stdout
    servers = dict(line.removeprefix("export ").split("=", 1) for line in said.splitlines())
    schedules = ask(servers, "deployments/name/train/nightly")
    assert [one["active"] for one in schedules["schedules"]] == [True]
    found = (
        session_of(servers)
        .get(
            f"{servers['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/registered-models/alias",
            params={"name": "shapes", "alias": "champion"},
            timeout=60,
        )
        .json()
    )
    assert found["model_version"]["version"] == "1"
    stopped = bash(clone, f". .venv/bin/activate\n{blocks()[-1]}")
    assert stopped.returncode == 0, stopped.stderr
    assert not any(answers(servers[name]) for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"))
