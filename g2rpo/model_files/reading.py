"""The door for files of a model's folder: links stay within it, JSON is an object of bounded size and depth.

This file does not import torch.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

MOST_BYTES = 64 * 2**20
"""Of a JSON or text file; the largest published tokenizer has 33 MB."""
_MOST_DEPTH = 50
MOST_LAYERS = 1000
_MOST_LABELS = 30_000
"""Of a classifier, each of which gets a name while the configuration is read; ImageNet-21k has 21,841."""
_CACHE = "models--"
"""How the hub's cache names the folder of a repository."""


def known_files(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """Return the files of a folder that match patterns, in order.

    Raises:
        ValueError: If one of them is a link out of the model's folder, or no regular file.
    """
    found = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    files = [path for path in found if path.is_symlink() or not path.is_dir()]
    for path in files:
        require_own(path, folder)
    return files


def require_own(path: Path, folder: Path) -> None:
    """Refuse a path that leads out of a model's folder, or to no regular file.

    Links of the hub's cache lead from `models--OWNER--NAME/snapshots/COMMIT` to `models--OWNER--NAME/blobs`.

    Raises:
        ValueError: With the path and where it leads.
    """
    try:
        real, home = path.resolve(), folder.resolve()
    except (OSError, RuntimeError):  # a link to itself
        real, home = None, folder
    if real is None or not any(real.is_relative_to(place) for place in (home, *_blobs(home))):
        raise ValueError(
            f"Files of a model must lie in its own folder {folder}, got {path}, which links to "
            f"{real or 'itself'}. Copy what you want into the folder, or remove the link."
        )
    if not real.is_file():
        raise ValueError(f"Files of a model must be regular files, got {path}, which is none. Remove it.")


def read_bytes(path: Path, folder: Path) -> bytes:
    """Return a file of a model's folder, whole.

    Raises:
        ValueError: If it is a link out of the folder, no regular file, or larger than 64 MiB.
    """
    require_own(path, folder)
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(
            f"At most {MOST_BYTES} bytes are required of {path}, got {size}. Download it again, or take another model."
        )
    return path.read_bytes()


def read_json(path: Path, folder: Path) -> dict[str, Any]:
    """Return the object of a JSON file of a model's folder.

    Raises:
        ValueError: If the file is no own file of the folder, too large, no JSON, no object, or nested too deeply.
    """
    content = read_bytes(path, folder)
    try:
        value = json.loads(content, parse_constant=_no_number)
        deep = is_deep(value, _MOST_DEPTH)
    except RecursionError:
        value, deep = None, True
    except ValueError as error:
        raise ValueError(f"JSON is required in {path}, got {error}. Download it again.") from error
    if deep:
        raise ValueError(
            f"JSON of at most {_MOST_DEPTH} levels is required in {path}, got a deeper one. Download it again."
        )
    if not isinstance(value, dict):
        raise ValueError(f"A JSON object is required in {path}, got {type(value).__name__}. Download it again.")
    return value


def read_config(path: Path, folder: Path) -> dict[str, Any]:
    """Return the JSON configuration of a network, with a bounded number of layers and labels.

    Raises:
        ValueError: As `read_json`, or if the network would have more than 1000 layers of a kind, or 30,000 labels.
    """
    config = read_json(path, folder)
    for name, value in _numbers(config):
        most = _MOST_LABELS if name == "num_labels" else MOST_LAYERS
        if (name == "num_labels" or "layer" in name or "block" in name) and not 0 <= value <= most:
            raise ValueError(f"{name}: 0 to {most} is required in {path}, got {value}. Download it again.")
    return config


def _blobs(home: Path) -> list[Path]:
    """Return where the links of a snapshot in the hub's cache lead; nowhere for other folders."""
    repository = home.parent.parent
    cached = home.parent.name == "snapshots" and repository.name.startswith(_CACHE)
    return [repository / "blobs"] if cached else []


def is_deep(value: object, levels: int) -> bool:
    """Return whether something lies within so many lists and objects of a JSON value, or more."""
    level = [value]
    for _ in range(levels):
        level = [part for one in level for part in _parts(one)]
        if not level:
            return False
    return True


def _parts(value: Any) -> Iterable[Any]:
    match value:
        case dict():
            return value.values()
        case list():
            return value
        case _:
            return ()


def _numbers(config: dict[str, Any]) -> list[tuple[str, int]]:
    """Return all integers and lengths of lists by the name of their key, those within other objects too."""
    found: list[tuple[str, int]] = []
    for name, value in config.items():
        if isinstance(value, dict):
            found += _numbers(value)
        elif isinstance(value, int):
            found.append((name, value))
        elif isinstance(value, list):
            found.append((name, len(value)))
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name}, which is no number of JSON")
