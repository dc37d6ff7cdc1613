"""The folder of a diffusers pipeline: one subfolder per component, and model_index.json."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

INDEX = "model_index.json"
COMPONENT_FILES = ("*.safetensors", "*.json", "*.txt", "*.model")
"""Files that a component may have; none that is unpickled."""


def require_pipeline(folder: Path, class_name: str, components: Sequence[str]) -> None:
    """Refuse a folder that holds no pipeline of a class, or misses a component.

    Raises:
        ValueError: With the required and the given value.
    """
    if not (folder / INDEX).is_file():
        raise ValueError(
            f"policy.path: a folder of diffusers with {INDEX} is required, got {folder} without it. Name the folder "
            "that `save_pretrained` of a pipeline wrote, or a hub id."
        )
    given = _json(folder / INDEX).get("_class_name")
    if given != class_name:
        raise ValueError(
            f"policy.path: a {class_name} is required, got a {given} at {folder}. Correct policy.family or policy.path."
        )
    missing = [name for name in components if not (folder / name).is_dir()]
    if missing:
        raise ValueError(
            f"policy.path: a {class_name} with {', '.join(components)} is required, got {folder} without "
            f"{', '.join(missing)}. Download or save it again."
        )


def component_config(folder: Path, component: str) -> dict[str, Any]:
    """Return the configuration of a component, as config.json or scheduler_config.json has it.

    Raises:
        ValueError: If it has none.
    """
    for name in ("config.json", "scheduler_config.json"):
        if (folder / component / name).is_file():
            return _json(folder / component / name)
    raise ValueError(f"policy.path: {component}/config.json is required, got none in {folder}. Download it again.")


def patterns(*components: str) -> tuple[str, ...]:
    """Return the patterns of the files of components."""
    return tuple(f"{component}/{file}" for component in components for file in COMPONENT_FILES)


def copy_all_but_transformer(source: Path, target: Path) -> None:
    """Copy the components that are never trained."""
    index = _json(source / INDEX)
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / INDEX, target / INDEX)
    for component in index:
        if component != "transformer" and (source / component).is_dir():
            shutil.copytree(source / component, target / component)


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"policy.path: JSON is required in {path}, got {error}. Download it again.") from error
