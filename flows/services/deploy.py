"""Work pool, deployments and automations, as prefect.yaml and automations.yaml say."""

import os
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectAlreadyExists, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.common.servers import login_refused
from flows.services.automations import read_automations
from flows.services.deployments import to_deploy
from flows.services.zombies import crash, zombies

POOL = "g2rpo"
"""The work pool that prefect.yaml names."""

Say = Callable[[str], None]


def deploy(project: Path, api: str, say: Say, *, anew: bool) -> None:
    """Make the work pool if it is new, bring deployments and automations to what their files say, find zombies.

    Args:
        project: The folder of prefect.yaml and automations.yaml.
        api: URL of Prefect's API.
        say: Is given a line for each step.
        anew: Whether what is at Prefect already is brought to what the files say, or else left as it is.

    Raises:
        ValueError: If a file is missing or Prefect refuses it, with its words; if Prefect refuses the login.
    """
    for name in ("prefect.yaml", "automations.yaml"):
        if not (project / name).is_file():
            raise ValueError(f"{name} is required in {project}, got none. Give the command in the project's folder.")
    with temporary_settings({PREFECT_API_URL: api}), _logging_in(), get_client(sync_client=True) as client:
        with suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        wanted = to_deploy(client, project / "prefect.yaml", anew=anew)
        if wanted.tree["deployments"]:
            _deploy_all(project, wanted.tree, {"PREFECT_API_URL": api})
        if wanted.left:
            say(f"deployed already, left as they are: {', '.join(wanted.left)}; g2rpo up --deploy deploys them anew")
        else:
            say("deployments are as prefect.yaml says")
        _bring_automations(client, project / "automations.yaml", say, anew=anew)
        gone = zombies(client)
        crash(client, gone)
        for run in gone:
            say(f"flow run {run.name} has lost its process: it is marked as crashed, and is run again")


@contextmanager
def _logging_in() -> Generator[None]:
    try:
        yield
    except PrefectHTTPStatusError as error:
        raise login_refused(error) or error from None


def _bring_automations(client: SyncPrefectClient, path: Path, say: Say, *, anew: bool) -> None:
    """Create the file's automations that lack; put it in the place of one that differs, if `anew`, and else tell.

    One that equals the file is left alone: with it Prefect would delete its timers, as of a run that has just crashed.
    """
    there, differing = client.read_automations(), list[str]()
    for wanted in read_automations(client, path, say):
        same_name = [one for one in there if one.name == wanted.name]
        equal = [one for one in same_name if _content(one) == _content(wanted)]
        if same_name and not equal and not anew:
            differing.append(wanted.name)
            continue
        for one in same_name if anew else []:
            if one not in equal[:1]:
                client.delete_automation(one.id)
        if not equal:
            client.create_automation(wanted)
    if differing:
        say(f"automations differ, left as they are: {', '.join(differing)}; g2rpo up --deploy makes them as the file's")
    else:
        say("automations are as automations.yaml says")


def _content(automation: AutomationCore) -> dict[str, Any]:
    return automation.model_dump(include=set(AutomationCore.model_fields))


def _deploy_all(project: Path, tree: dict[str, Any], environment: Mapping[str, str]) -> None:
    """Deploy what a tree as prefect.yaml's has."""
    whole = {**os.environ, **environment, "PWD": str(project)}  # prefect.yaml has PWD as the workers' folder
    with TemporaryDirectory() as folder:
        file = Path(folder) / "prefect.yaml"
        file.write_text(yaml.safe_dump(tree, sort_keys=False))
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
        done = subprocess.run(command, cwd=project, env=whole, capture_output=True, text=True, check=False)
    if done.returncode:
        told = (done.stdout + done.stderr).strip()
        raise ValueError(f"`prefect deploy --all` must end well, got status {done.returncode}:\n{told}")
