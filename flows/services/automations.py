"""automations.yaml, in which a notification block has a name in place of its id."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.events.schemas.automations import AutomationCore
from pydantic import ValidationError


def read_automations(client: SyncPrefectClient, path: Path, say: Callable[[str], None]) -> list[AutomationCore]:
    """Return the automations of a file. A notification whose block is not there is left out, and told.

    Raises:
        ValueError: If Prefect does not know what one says.
    """
    blocks = {block.name: block.id for block in client.read_block_documents()}
    automations = list[AutomationCore]()
    for tree in yaml.safe_load(path.read_text())["automations"]:
        actions = [_with_block(action, blocks) for action in tree["actions"]]
        lacking = [action["block"] for action in actions if "block" in action]
        for name in lacking:
            say(f"automation {tree['name']}: nothing is sent until there is a notification block {name!r}")
        kept = [action for action in actions if "block" not in action] or [{"type": "do-nothing"}]
        try:
            automations.append(AutomationCore.model_validate(tree | {"actions": kept}))
        except ValidationError as error:
            raise ValueError(f"{path}: automation {tree.get('name')}: {error}. Correct it.") from None
    return automations


def _with_block(action: dict[str, Any], blocks: dict[str | None, Any]) -> dict[str, Any]:
    """Return an action with the id of the block that it names, if it is there."""
    known = blocks.get(action.get("block"))
    if known is None:
        return action
    return {key: value for key, value in action.items() if key != "block"} | {"block_document_id": known}
