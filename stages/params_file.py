"""Reading params.yaml and its overrides, with every fault told in the words of the file."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from stages.params import Params

_SCIENTIFIC = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")


def load_params(path: Path, overrides: Sequence[str] = ()) -> Params:
    """Return params.yaml with `section.key=value` overrides, checked.

    Args:
        path: The YAML file.
        overrides: Values in YAML, as `complete.granularities=[1,2,3]`.

    Raises:
        ValueError: If the file or an override is not valid; every fault is named with its key, what is
            required, what was got and what to do.
    """
    if not path.is_file():
        raise ValueError(f"A parameter file is required, got {path}, which does not exist. Give --params FILE.")
    try:
        tree = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} must be YAML; it could not be read: {error}") from error
    if not isinstance(tree, dict):
        raise ValueError(f"{path} must hold sections of parameters, got {type(tree).__name__}. Start from params.yaml.")
    for override in overrides:
        _override(tree, override)
    return parse_params(tree)


def parse_params(tree: dict[str, Any]) -> Params:
    """Return the checked parameters of a plain tree, as read from YAML or JSON.

    Raises:
        ValueError: As `load_params`.
    """
    try:
        return Params.model_validate(_tuples(tree))
    except ValidationError as error:
        faults = "\n".join(f"  {_fault(fault)}" for fault in error.errors())
        raise ValueError(f"The parameters are not valid; nothing was started.\n{faults}") from None


def _override(tree: dict[str, Any], override: str) -> None:
    """Set one `section.key=value` in the tree; unknown keys are left for the check to name."""
    key, equals, value = override.partition("=")
    section, dot, name = key.partition(".")
    if not (equals and dot and name):
        raise ValueError(f"An override has the form section.key=value, got {override!r}. As --set run.rounds=10.")
    *inner, last = name.split(".")
    try:
        at = tree.setdefault(section, {})
        for part in inner:
            at = at.setdefault(part, {})
        at[last] = yaml.safe_load(value)
    except (yaml.YAMLError, AttributeError, TypeError) as error:
        raise ValueError(f"The override {override!r} could not be applied: {error}. Check key and value.") from None


def _tuples(value: Any) -> Any:
    """Return the tree with lists as tuples, and numbers like 1e-4, which YAML 1.1 reads as text, as floats."""
    if isinstance(value, dict):
        return {key: _tuples(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return tuple(_tuples(inner) for inner in value)
    if isinstance(value, str) and _SCIENTIFIC.fullmatch(value):
        return float(value)
    return value


def _fault(fault: Any) -> str:
    """Return one line of pydantic's findings: key, required, got, do."""
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        section: Any = Params
        for part in fault["loc"][:-1]:
            section = section.model_fields[str(part)].annotation
        known = ", ".join(section.model_fields)
        return f"{key}: unknown key, got {fault['input']!r}. Remove it or correct it; known here: {known}."
    if fault["type"] == "missing":
        return f"{key}: required, got nothing. Add it; the shipped params.yaml has a value and its meaning."
    if fault["type"] == "value_error":
        return str(fault["ctx"]["error"])
    required = fault["msg"].lower().replace("tuple", "list")
    return f"{key}: {required}, got {fault['input']!r}. Change it in params.yaml or by --set."
