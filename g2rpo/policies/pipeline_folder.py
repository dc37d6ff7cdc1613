"""The folder of a diffusers pipeline: one subfolder per component, and model_index.json."""

import shutil
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from g2rpo.model_files.reading import known_files, read_config, read_json

INDEX = "model_index.json"
COMPONENT_FILES = ("*.safetensors", "*.json", "*.txt", "*.model")
"""Files that a component may have; none that is unpickled."""

_UNTRAINED = (
    *("vae", "scheduler", "text_encoder", "text_encoder_2", "text_encoder_3"),
    *("tokenizer", "tokenizer_2", "tokenizer_3"),
)


def require_pipeline(folder: Path, class_name: str, components: Mapping[str, type]) -> None:
    """Refuse a folder that holds no pipeline of a class, misses a component or has another one.

    Args:
        folder: The folder.
        class_name: Name of the pipeline's class.
        components: The class of each component of the family; the index must name these and no others.

    Raises:
        ValueError: With the required and the given value.
    """
    if not (folder / INDEX).is_file():
        raise ValueError(
            f"policy.path: a folder of diffusers with {INDEX} is required, got {folder} without it. Name the folder "
            "that `save_pretrained` of a pipeline wrote, or a hub id."
        )
    index = _read(folder / INDEX, folder)
    given = index.get("_class_name")
    if given != class_name:
        raise ValueError(
            f"policy.path: a {class_name} is required, got a {str(given)[:100]} at {folder}. Correct policy.family or "
            "policy.path."
        )
    missing = [name for name in components if not (folder / name).is_dir()]
    if missing:
        raise ValueError(
            f"policy.path: a {class_name} with {', '.join(components)} is required, got {folder} without "
            f"{', '.join(missing)}. Download or save it again."
        )
    known = {name: _names(kind) for name, kind in components.items()}
    for name, value in index.items():
        if not name.startswith("_") and value not in known.get(name, ([None, None], None)):
            required = " of ".join(reversed(known[name][0])) if name in known else "no such component"
            raise ValueError(
                f"policy.path: {required} is required as {name[:100]!r} of a {class_name}, got {str(value)[:100]} in "
                f"{folder / INDEX}. Take the published model, or save it by its own pipeline."
            )
    known_files(folder, [f"{component}/*" for component in components])


def component_config(folder: Path, component: str) -> dict[str, Any]:
    """Return the configuration of a component, as config.json or scheduler_config.json has it.

    Raises:
        ValueError: If it has none, or it is no configuration.
    """
    for name in ("config.json", "scheduler_config.json"):
        if (folder / component / name).is_file():
            return _read(folder / component / name, folder)
    raise ValueError(f"policy.path: {component}/config.json is required, got none in {folder}. Download it again.")


def component_number(folder: Path, component: str, key: str) -> float:
    """Return a number of a component's configuration.

    Raises:
        ValueError: If it is missing, or no positive finite number.
    """
    value = component_config(folder, component).get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not (isfinite(value) and value > 0):
        raise ValueError(
            f"policy.path: a positive number {key} is required in the configuration of {component} in {folder}, got "
            f"{str(value)[:100]}. Download it again."
        )
    return float(value)


def patterns(*components: str) -> tuple[str, ...]:
    """Return the patterns of the files of components."""
    return tuple(f"{component}/{file}" for component in components for file in COMPONENT_FILES)


def copy_all_but_transformer(source: Path, target: Path) -> None:
    """Copy the index, and the known files of the components that are never trained."""
    for path in known_files(source, [INDEX, *patterns(*_UNTRAINED)]):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def _names(kind: type) -> list[list[str]]:
    """Return the ways in which an index names a class: library and name; tokenizers have two names."""
    library = kind.__module__.split(".", 1)[0]
    return [[library, kind.__name__], [library, f"{kind.__name__}Fast"]]


def _read(path: Path, folder: Path) -> dict[str, Any]:
    try:
        return (read_json if path.name == INDEX else read_config)(path, folder)
    except ValueError as error:
        raise ValueError(f"policy.path: {error}") from error
