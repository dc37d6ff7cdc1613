"""Reads automations.yaml, which names notification blocks in place of their ids."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.events.schemas.automations import AutomationCore
from pydantic import ValidationError

from stages.params.yaml import read_mapping


def read_automations(client: SyncPrefectClient, path: Path, say: Callable[[str], None]) -> list[AutomationCore]:
    """Return the automations of a file. A notification without its block is left out, with a line to `say`.

    Raises:
        ValueError: If the file is not YAML, or Prefect refuses an automation.
    """
    blocks = {block.name: block.id for block in client.read_block_documents()}
    automations = list[AutomationCore]()
    for tree in _trees(path):
        actions = [_with_block(action, blocks) for action in tree["actions"]]
        missing = [action["block"] for action in actions if "block" in action]
        for name in missing:
            say(f"automation {tree['name']}: it sends nothing until you create the notification block {name!r}")
        kept = [action for action in actions if "block" not in action] or [{"type": "do-nothing"}]
        try:
            automations.append(AutomationCore.model_validate(tree | {"actions": kept}))
        except ValidationError as error:
            raise ValueError(f"{path}: automation {tree.get('name')}: {error}. Correct it.") from None
    return automations


def _trees(path: Path) -> list[dict[str, Any]]:
    """Return the automations of a file as they stand there."""
    trees = read_mapping(path, "A file of automations", "the file").get("automations") or []
    if not (isinstance(trees, list) and all(isinstance(tree, dict) and _has_actions(tree) for tree in trees)):
        raise ValueError(f"{path}: automations must be a list, each with a name and a list of actions. Correct it.")
    return trees


def _has_actions(tree: dict[str, Any]) -> bool:
    actions = tree.get("actions")
    named = isinstance(tree.get("name"), str)
    return named and isinstance(actions, list) and all(isinstance(action, dict) for action in actions)


def _with_block(action: dict[str, Any], blocks: dict[str | None, Any]) -> dict[str, Any]:
    """Return an action with the id of the block that it names, if the block exists."""
    known = blocks.get(action.get("block"))
    if known is None:
        return action
    return {key: value for key, value in action.items() if key != "block"} | {"block_document_id": known}
