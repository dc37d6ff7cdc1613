"""Read params.yaml and its overrides; errors use the words of the file."""

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError

from g2rpo.messages import listed, plain, shown
from stages.params.faults import fault_lines, value_line
from stages.params.names import check_key
from stages.params.record import Params
from stages.params.section import Section
from stages.params.yaml import MOST_DEPTH, dumped, dumped_line, parse, read_extending, read_mapping

_FILE = "A parameter file"
_TAGS = ("family", "kind", "method")
"""Keys that select the record of a section that has several."""


def load_params(path: Path, overrides: Sequence[str] = ()) -> Params:
    """Return the checked parameters of a file with `section.key=value` overrides.

    A preset is a file with `extends: ../params.yaml` and the keys that differ. Its keys replace those of the extended
    file; a section of another family or method replaces the whole section, a mapping the whole mapping.

    Args:
        path: The YAML file.
        overrides: Values in YAML, such as `complete.granularities=[1,2]`.

    Raises:
        ValueError: If the file or an override is not valid; with key, required value, given value and remedy of each
            fault.
    """
    *presets, lowest = (tree for _, tree in read_extending(path, _FILE, "--params FILE"))
    return _overridden(reduce(_merge, reversed(presets), lowest), overrides)


def load_stored_params(path: Path, overrides: Sequence[str] = ()) -> Params:
    """Return the checked parameters of a run's own file, which is whole and extends no other.

    Raises:
        ValueError: As `load_params`.
    """
    return _overridden(read_mapping(path, _FILE, "the run, or repair it by `g2rpo repair`"), overrides)


def _overridden(tree: dict[str, Any], overrides: Sequence[str]) -> Params:
    for text in overrides:
        _override(tree, text)
    return parse_params(tree)


def written(params: Params) -> str:
    """Return parameters as the text of a params.yaml, without comments."""
    return dumped(params.model_dump(mode="json"))


def override(key: str, value: Any) -> str:
    """Return a value as an override of `load_params`. Example: `rollout.steps=[0, 1]`.

    Raises:
        ValueError: If the key is no `section.key`.
    """
    check_key("overrides", key)
    return f"{key}={dumped_line(value)}"


def _merge(tree: dict[str, Any], preset: dict[str, Any]) -> dict[str, Any]:
    """Return a tree in which the keys of a preset replace the tree's own."""
    merged = dict(tree)
    for section, keys in preset.items():
        below = merged.get(section)
        if isinstance(keys, dict) and isinstance(below, dict) and _same_kind(below, keys):
            merged[section] = {**below, **keys}
        else:
            merged[section] = keys
    return merged


def _same_kind(below: dict[str, Any], keys: dict[str, Any]) -> bool:
    """Whether keys belong to the same record as those below: they name no other family, kind or method."""
    return all(keys.get(tag) in (None, below.get(tag)) for tag in _TAGS)


def parse_params(tree: dict[str, Any]) -> Params:
    """Return the checked parameters of a plain tree, as YAML or JSON gives it.

    Raises:
        ValueError: As `load_params`.
    """
    try:
        return Params.model_validate(_tuples(tree))
    except ValidationError as error:
        raise ValueError(f"The parameters are not valid; nothing was started.\n{fault_lines(error, _fault)}") from None


def _override(tree: dict[str, Any], text: str) -> None:
    """Set one `section.key=value` in the tree; the later check refuses unknown keys.

    Another family or method removes the keys that only the former one had.
    """
    key, equals, value = text.partition("=")
    section, dot, name = key.partition(".")
    if not (equals and dot and name):
        raise ValueError(
            f"An override has the form section.key=value, got {shown(text)}. Example: --set run.rounds=10."
        )
    *inner, last = name.split(".")
    if len(inner) > MOST_DEPTH:
        raise ValueError(f"The override {shown(text)} must have at most {MOST_DEPTH} dots, got more. Check the key.")
    try:
        at = tree.setdefault(section, {})
        for part in inner:
            at = at.setdefault(part, {})
        at[last] = parse(value.encode(errors="surrogatepass"), f"the override of {plain(key)}")
        if last in _TAGS and not inner:
            tree[section] = _known_keys(section, at)
    except (AttributeError, TypeError) as error:
        raise ValueError(f"The override {shown(text)} could not be applied: {error}. Check key and value.") from None


def _known_keys(section: str, keys: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of a section that exist in the record of its tag; all of them if there is no such record."""
    field = Params.model_fields.get(section)
    kinds = _flat(field.annotation) if field else []
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, Section) and any(keys.get(tag) in _tags(kind) for tag in _TAGS):
            return {key: value for key, value in keys.items() if key in kind.model_fields}
    return keys


def _tuples(value: Any, depth: int = 0) -> Any:
    """Return the tree with lists as tuples."""
    if depth > MOST_DEPTH:
        raise ValueError(f"At most {MOST_DEPTH} levels of lists and keys are required in parameters, got more.")
    if isinstance(value, dict):
        return {key: _tuples(inner, depth + 1) for key, inner in value.items()}
    return tuple(_tuples(inner, depth + 1) for inner in value) if isinstance(value, list) else value


def _fault(fault: Any) -> str:
    """Return a fault that pydantic found as one line: key, required, got, do."""
    key, section = _place(fault["loc"])
    key, got = plain(key), shown(fault["input"])
    if fault["type"] == "extra_forbidden":
        known = listed(section.model_fields, most=32)
        return f"{key}: unknown key, got {got}. Remove it or correct it; known here: {known}."
    if fault["type"] == "missing":
        return f"{key}: required, got nothing. Add it; the shipped params.yaml and presets have values and meanings."
    if fault["type"].startswith("union_tag"):
        by = fault["ctx"]["discriminator"].strip("'")
        given = fault["input"].get(by) if isinstance(fault["input"], dict) else fault["input"]
        expected = fault["ctx"].get("expected_tags") or "a name"
        return f"{key}.{by}: one of {expected} is required, got {shown(given)}. Change it."
    if fault["type"] == "value_error":
        return str(fault["ctx"]["error"])
    return value_line(key, fault, "params.yaml or by --set")


def _place(location: Sequence[Any]) -> tuple[str, Any]:
    """Return the key of a fault, and its record; pydantic's location also names the member of a union."""
    key = list[str]()
    here: Any = Params
    record: Any = Params
    for part in location:
        if part == "[key]":  # of a mapping, whose name the location has already
            continue
        members = [kind for kind in _flat(here) if isinstance(kind, type) and issubclass(kind, Section)]
        tagged = [kind for kind in members if len(members) > 1 and part in _tags(kind)]
        if tagged:
            here = record = tagged[0]
            continue
        if not members and len(set(_flat(here)) - {NoneType}) > 1:  # the part names a member, such as a literal
            here = Any
            continue
        key.append(str(part))
        record = members[0] if members else record
        if members:
            field = record.model_fields.get(str(part))
            here = field.annotation if field else Any
        else:
            here = get_args(here)[-1] if get_args(here) else Any
    return ".".join(key), record


def _flat(annotation: Any) -> list[Any]:
    """Return the members of a union, else the type itself, without `Annotated`."""
    if get_origin(annotation) is Annotated:
        return _flat(get_args(annotation)[0])
    return list(get_args(annotation)) if get_origin(annotation) in (Union, UnionType) else [annotation]


def _tags(kind: Any) -> tuple[Any, ...]:
    return tuple(
        tag for name in _TAGS if name in kind.model_fields for tag in get_args(kind.model_fields[name].annotation)
    )
