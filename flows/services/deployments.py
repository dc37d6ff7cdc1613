"""prefect.yaml as it is to be deployed: what lacks or all of it, with the schedules that people have made or set."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound

_OF_A_SCHEDULE = {"cron", "interval", "anchor_date", "rrule", "timezone"}
"""What prefect.yaml can say of when a schedule is due."""


@dataclass(frozen=True)
class ToDeploy:
    """What is to be deployed. Example: a tree with the deployment demo alone, left ("train/nightly",)."""

    tree: dict[str, Any]
    """prefect.yaml, with these deployments in place of all."""
    left: tuple[str, ...]
    """Those that are at Prefect and stay as they are, as flow/deployment."""


def to_deploy(client: SyncPrefectClient, path: Path, *, anew: bool) -> ToDeploy:
    """Return what of a prefect.yaml is to be deployed.

    Args:
        path: The file. A deployment's flow must be called as the function of its entrypoint, with dashes.
        anew: Whether those that are at Prefect are deployed as well. Their schedules are kept: one that somebody has
            switched on or off stays so unless the file says `active: true`, one that somebody has added stays.

    Raises:
        ValueError: If the file is no YAML.
    """
    try:
        tree = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} must be YAML, got: {error}. Correct it.") from None
    chosen, left = list[dict[str, Any]](), list[str]()
    for wanted in tree.get("deployments") or []:
        flow = str(wanted.get("entrypoint", "")).rpartition(":")[2].replace("_", "-")
        name = f"{flow}/{wanted.get('name', '')}"
        there = _deployment(client, name)
        if there is None:
            chosen.append(wanted)
        elif anew:
            chosen.append(wanted | {"schedules": _schedules(wanted.get("schedules") or [], there.schedules)})
        else:
            left.append(name)
    return ToDeploy(tree | {"deployments": chosen}, tuple(left))


def _deployment(client: SyncPrefectClient, name: str) -> DeploymentResponse | None:
    try:
        return client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None


def _schedules(wanted: list[dict[str, Any]], there: Sequence[DeploymentSchedule]) -> list[dict[str, Any]]:
    """Return the file's schedules as people have set them, and the ones that people have added.

    Prefect deletes all that are there when one of them has no slug, as those that are made on its page.
    """
    active = {one.slug: one.active for one in there if one.slug}
    kept = [
        one if one.get("active") or one.get("slug") not in active else one | {"active": active[one["slug"]]}
        for one in wanted
    ]
    if not wanted or not all(one.get("slug") for one in wanted):  # none is touched, or which is whose cannot be told
        return kept
    named = {one["slug"] for one in wanted}
    return kept + [_as_in_the_file(one) for one in there if one.slug not in named]


def _as_in_the_file(schedule: DeploymentSchedule) -> dict[str, Any]:
    due = schedule.schedule.model_dump(mode="json", exclude_none=True, include=_OF_A_SCHEDULE)
    own = {"active": schedule.active, "slug": schedule.slug, "parameters": schedule.parameters}
    return due | {key: value for key, value in own.items() if value is not None}
