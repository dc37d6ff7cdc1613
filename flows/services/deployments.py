"""What to deploy of prefect.yaml: missing deployments or all, with the schedules that people have added or changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound

from g2rpo.messages import shown
from stages.params.names import check_name
from stages.params.yaml import read_mapping

_SCHEDULE_FIELDS = {"cron", "interval", "anchor_date", "rrule", "timezone"}
"""Fields by which prefect.yaml says when a schedule is due."""


@dataclass(frozen=True)
class ToDeploy:
    """The deployments to make. Example: a tree with the deployment demo alone, left ("train/nightly",)."""

    tree: dict[str, Any]
    """The tree of prefect.yaml, with these deployments only."""
    left: tuple[str, ...]
    """Deployments that Prefect has and that stay as they are, as flow/deployment."""


def to_deploy(client: SyncPrefectClient, path: Path, *, anew: bool) -> ToDeploy:
    """Return which deployments of a prefect.yaml to make.

    Args:
        path: The file. A deployment's flow must have the name of its entrypoint's function, with dashes.
        anew: Whether to deploy existing ones again. Their schedules stay: one that somebody has switched on or off
            stays so unless the file says `active: true`, and one that somebody has added stays.

    Raises:
        ValueError: If the file is not YAML, or no list of deployments with names and schedules.
    """
    tree = read_mapping(path, "A file of deployments", "the file")
    deployments, left = list[dict[str, Any]](), list[str]()
    for entry in _entries(tree, path):
        flow = str(entry.get("entrypoint", "")).rpartition(":")[2].replace("_", "-")
        name = f"{flow}/{entry.get('name', '')}"
        existing = _deployment(client, name)
        if existing is None:
            deployments.append(entry)
        elif anew:
            deployments.append(entry | {"schedules": _schedules(entry.get("schedules") or [], existing.schedules)})
        else:
            left.append(name)
    return ToDeploy(tree | {"deployments": deployments}, tuple(left))


def _entries(tree: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    """Return the deployments of a tree; `_schedules` and Prefect join their names to others."""
    entries = tree.get("deployments") or []
    if not (isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)):
        raise ValueError(f"{path}: deployments must be a list of keys and values, got {shown(entries)}. Correct it.")
    for number, entry in enumerate(entries, 1):
        check_name(f"{path}: name of deployment {number}", entry.get("name"))
        schedules = entry.get("schedules") or []
        if not (isinstance(schedules, list) and all(isinstance(one, dict) for one in schedules)):
            raise ValueError(
                f"{path}: schedules of deployment {entry['name']} must be a list of keys and values, got "
                f"{shown(schedules)}. Correct it."
            )
    return entries


def _deployment(client: SyncPrefectClient, name: str) -> DeploymentResponse | None:
    try:
        return client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None


def _schedules(of_file: list[dict[str, Any]], existing: Sequence[DeploymentSchedule]) -> list[dict[str, Any]]:
    """Return the file's schedules in the state that people have set, and those that people have added.

    Prefect deletes all existing schedules if one has no slug, as those made on its page.
    """
    active = {one.slug: one.active for one in existing if one.slug}
    kept = [
        one if one.get("active") or one.get("slug") not in active else one | {"active": active[one["slug"]]}
        for one in of_file
    ]
    if not of_file or not all(one.get("slug") for one in of_file):  # none to change, or no way to match them
        return kept
    slugs = {one["slug"] for one in of_file}
    return kept + [_as_entry(one) for one in existing if one.slug not in slugs]


def _as_entry(schedule: DeploymentSchedule) -> dict[str, Any]:
    due = schedule.schedule.model_dump(mode="json", exclude_none=True, include=_SCHEDULE_FIELDS)
    own = {"active": schedule.active, "slug": schedule.slug, "parameters": schedule.parameters}
    return due | {key: value for key, value in own.items() if value is not None}
