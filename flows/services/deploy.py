"""Work pool, deployments and automations, as prefect.yaml and automations.yaml say."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.services.automations import read_automations
from flows.services.zombies import crash, zombies

POOL = "g2rpo"
"""The work pool that prefect.yaml names."""

Say = Callable[[str], None]


def deploy(project: Path, api: str, say: Say) -> None:
    """Make the work pool if it is new, bring deployments and automations to what their files say, find zombies.

    Args:
        project: The folder of prefect.yaml and automations.yaml.
        api: URL of Prefect's API.
        say: Is given a line for each step.

    Raises:
        ValueError: If a file is missing or Prefect refuses it; with its words.
    """
    for name in ("prefect.yaml", "automations.yaml"):
        if not (project / name).is_file():
            raise ValueError(f"{name} is required in {project}, got none. Give the command in the project's folder.")
    with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
        with suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        _deploy_all(project, {"PREFECT_API_URL": api})
        say("deployments are as prefect.yaml says")
        _replace_automations(client, project / "automations.yaml", say)
        say("automations are as automations.yaml says")
        gone = zombies(client)
        crash(client, gone)
        for run in gone:
            say(f"flow run {run.name} has lost its process: it is marked as crashed, and is run again")


def _replace_automations(client: SyncPrefectClient, path: Path, say: Say) -> None:
    """Create the file's automations; those of the same names that are there go."""
    wanted = read_automations(client, path, say)
    names = {automation.name for automation in wanted}
    for there in client.read_automations():
        if there.name in names:
            client.delete_automation(there.id)
    for automation in wanted:
        client.create_automation(automation)


def _deploy_all(project: Path, environment: Mapping[str, str]) -> None:
    whole = {**os.environ, **environment, "PWD": str(project)}  # prefect.yaml has PWD as the workers' folder
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(command, cwd=project, env=whole, capture_output=True, text=True, check=False)
    if done.returncode:
        told = (done.stdout + done.stderr).strip()
        raise ValueError(f"`prefect deploy --all` must end well, got status {done.returncode}:\n{told}")
