"""Read YAML files of parameters and plans, and the files that they extend, as mappings."""

import re
from pathlib import Path
from typing import Any

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml, a tenth of the time, where PyYAML has it
_SCIENTIFIC = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")


def read_mapping(path: Path, what: str, given_by: str) -> dict[str, Any]:
    """Return the mapping in a YAML file, as YAML 1.1 reads it; see `with_floats`.

    Args:
        path: The file.
        what: Its name in an error, such as "A plan".
        given_by: The option that names it, such as "--plan FILE".

    Raises:
        ValueError: If the file does not exist, or holds no mapping.
    """
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise ValueError(f"{what} is required, got {path}, which {problem}. Correct {given_by}.")
    try:
        tree = yaml.load(path.read_text(), Loader=_LOADER)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} must be YAML; it could not be read: {error}") from error
    if not isinstance(tree, dict):
        raise ValueError(f"{path} must hold keys and values, got {type(tree).__name__}. Start from a shipped file.")
    return tree


def read_extending(path: Path, what: str, given_by: str) -> list[tuple[Path, dict[str, Any]]]:
    """Return a file and the files that it extends, each with its mapping; the last one extends none.

    Raises:
        ValueError: As `read_mapping` for each file, and if the files extend each other in a circle.
    """
    files = list[tuple[Path, dict[str, Any]]]()
    while True:
        if path.resolve() in (file.resolve() for file, _ in files):
            raise ValueError(f"{given_by}: files that form no circle are required, got one at {path}. Break it.")
        tree = read_mapping(path, what, given_by)
        extended = tree.pop("extends", None)
        files.append((path, tree))
        if extended is None:
            return files
        if not isinstance(extended, str):
            raise ValueError(
                f"extends: a file name is required, got {extended!r} in {path}. Name one, as ../params.yaml."
            )
        given_by = f"extends in {path}"
        path = path.parent / extended


def with_floats(value: Any) -> Any:
    """Return a tree in which numbers such as 1e-4, which YAML 1.1 reads as text, are floats."""
    if isinstance(value, dict):
        return {key: with_floats(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [with_floats(inner) for inner in value]
    return float(value) if isinstance(value, str) and _SCIENTIFIC.fullmatch(value) else value
