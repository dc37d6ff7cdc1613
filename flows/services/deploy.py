"""Work pool, deployments and automations, from prefect.yaml and automations.yaml."""

import os
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectAlreadyExists, PrefectHTTPStatusError

from flows.common.login import prefect_at
from flows.common.servers import login_refused
from flows.services.automations import read_automations
from flows.services.deployments import to_deploy
from flows.services.zombies import crash, zombies
from stages.params.yaml import dumped

POOL = "g2rpo"
"""The work pool that prefect.yaml names."""

Say = Callable[[str], None]


def deploy(project: Path, servers: Mapping[str, str], say: Say, *, anew: bool) -> None:
    """Create a missing work pool, bring deployments and automations up to date, mark zombies as crashed.

    Args:
        project: The folder of prefect.yaml and automations.yaml.
        servers: PREFECT_API_URL, and PREFECT_API_AUTH_STRING if the server's login is not configured.
        say: Gets a line for each step.
        anew: Whether to replace what Prefect already has by what the files say; if not, it stays as it is.

    Raises:
        ValueError: If a file is missing, or Prefect refuses it or the login.
    """
    for name in ("prefect.yaml", "automations.yaml"):
        if not (project / name).is_file():
            raise ValueError(f"{name} is required in {project}, got none. Run the command in the project's folder.")
    with prefect_at(servers), _logging_in(), get_client(sync_client=True) as client:
        with suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        pending = to_deploy(client, project / "prefect.yaml", anew=anew)
        if pending.tree["deployments"]:
            _deploy_all(project, pending.tree, servers)
        if pending.left:
            say(f"already deployed, unchanged: {', '.join(pending.left)}; g2rpo up --deploy deploys them again")
        else:
            say("deployments match prefect.yaml")
        _update_automations(client, project / "automations.yaml", say, anew=anew)
        gone = zombies(client)
        crash(client, gone)
        for run in gone:
            say(f"flow run {run.name} has lost its process: it is marked as crashed, and Prefect runs it again")


@contextmanager
def _logging_in() -> Generator[None]:
    try:
        yield
    except PrefectHTTPStatusError as error:
        raise login_refused(error) or error from None


def _update_automations(client: SyncPrefectClient, path: Path, say: Say, *, anew: bool) -> None:
    """Create the file's missing automations; replace those that differ if `anew`, and report them if not.

    Equal ones stay: Prefect would delete their timers too, such as that of a run that has just crashed.
    """
    existing, differing = client.read_automations(), list[str]()
    for automation in read_automations(client, path, say):
        same_name = [one for one in existing if one.name == automation.name]
        equal = [one for one in same_name if _content(one) == _content(automation)]
        if same_name and not equal and not anew:
            differing.append(automation.name)
            continue
        for one in same_name if anew else []:
            if one not in equal[:1]:
                client.delete_automation(one.id)
        if not equal:
            client.create_automation(automation)
    if differing:
        say(f"automations differ, unchanged: {', '.join(differing)}; g2rpo up --deploy replaces them by the file's")
    else:
        say("automations match automations.yaml")


def _content(automation: AutomationCore) -> dict[str, Any]:
    return automation.model_dump(include=set(AutomationCore.model_fields))


def _deploy_all(project: Path, tree: dict[str, Any], environment: Mapping[str, str]) -> None:
    """Deploy the deployments of a tree in the form of prefect.yaml."""
    whole = {
        **os.environ,
        **environment,
        "PWD": str(project),  # prefect.yaml names PWD as the worker's folder
        "PREFECT_CLIENT_MAX_RETRIES": "5",  # Prefect's own number: a busy server on SQLite answers 503 at times
    }
    with TemporaryDirectory() as folder:
        file = Path(folder) / "prefect.yaml"
        file.write_text(dumped(tree), encoding="utf-8")
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
        done = subprocess.run(command, cwd=project, env=whole, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        output = (done.stdout + done.stderr).strip()
        raise ValueError(f"`prefect deploy --all` must end with status 0, got {done.returncode}:\n{output}")
