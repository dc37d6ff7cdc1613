"""The files of a folder that hold a split's list of prompts; each process reads them once.

    train.txt  train.jsonl  train.json  train.csv  train.tsv  train.parquet
    train/part-00000.parquet                                 as `g2rpo prompts` and `g2rpo import-prompts` write it
    train-00000-of-00002.parquet  data/train-*  train/*      the layouts of Hugging Face datasets, of any kind of file

The name of a file begins with its split, up to the first character that is no letter; shards are read in the order
of their numbers.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from g2rpo.messages import listed
from stages.disk.files import FileState
from stages.texts.files import READERS, PromptList, is_blank, read_file

_NAME = re.compile(rf"(?P<split>[A-Za-z]+)(?P<shard>[^A-Za-z].*)?\.(?P<kind>(?i:{'|'.join(READERS)}))")
_OF = re.compile(r"-(\d+)-of-(\d+)(?!\d)")
_KEPT = 16  # folders in memory: those of a source's splits, and of a run's own


@dataclass(frozen=True)
class _Entries:
    """What a folder holds, by name; hidden entries are left out."""

    files: tuple[Path, ...]
    """Files, and what is neither file nor folder, such as a link to nothing: such a list is at fault, not missing."""
    folders: tuple[Path, ...]


def layouts(folder: Path, split: str | None = None) -> dict[str, dict[str, list[Path]]]:
    """Return the files of each split, or of one, by their layout.

    Example: `{"train": {"data/train*.parquet": [data/train-00000-of-00002.parquet, …]}}`.
    """
    splits: dict[str, dict[str, list[Path]]] = {}
    for place, prefix in ((folder, ""), (folder / "data", "data/")):
        for path in _files(place):
            name = _NAME.fullmatch(path.name)
            if name and split in (None, name["split"]):
                layout = f"{prefix}{name['split']}{'*' if name['shard'] else ''}.{name['kind'].lower()}"
                splits.setdefault(name["split"], {}).setdefault(layout, []).append(path)
    inner = [split] if split else [path.name for path in _entries(folder).folders if path.name != "data"]
    for name in inner:
        for path in _files(folder / name):
            if path.suffix[1:].lower() in READERS:
                splits.setdefault(name, {}).setdefault(f"{name}/*{path.suffix.lower()}", []).append(path)
    return splits


def find_split(folder: Path, split: str) -> tuple[FileState, ...]:
    """Return the files of a split in reading order.

    Raises:
        ValueError: If there are none, or two layouts hold the split, or a shard is missing.
    """
    if not folder.is_dir():
        raise ValueError(f"a folder of lists is required, got {folder}. `g2rpo import-prompts` makes one of a file.")
    by_layout = layouts(folder, split).get(split, {})
    if not by_layout:
        raise ValueError(
            f"a list of the {split} texts is required, got {listed(sorted(layouts(folder))) or 'none'} in {folder}. "
            f"Put it there as {split}.txt, {split}.jsonl, {split}/*.parquet or in another layout of docs/prompts.md; "
            "`g2rpo import-prompts` makes lists, `g2rpo prompts` writes the family's own."
        )
    if len(by_layout) > 1:
        raise ValueError(
            f"one list of the {split} texts is required, got {' and '.join(sorted(by_layout))} in {folder}. Remove one."
        )
    (paths,) = by_layout.values()
    _require_every_shard(paths, split)
    return tuple(_state(path) for path in sorted(paths, key=_by_numbers))


def read_split(files: Sequence[FileState]) -> PromptList:
    """Return the prompts of a split's files.

    Raises:
        ValueError: If a file cannot be read, there is no prompt, or one is empty.
    """
    parts = [read_file(file.path) for file in files]
    for file, part in zip(files, parts, strict=True):
        empty = [number for number, text in enumerate(part.texts, 1) if is_blank(text)]
        if empty:
            raise ValueError(
                f"{file.path}: a text is required for every prompt, prompt {empty[0]} has none. Remove it; "
                "`g2rpo import-prompts` drops such rows."
            )
    joined = _joined(parts)
    if not joined.texts:
        raise ValueError(f"{files[0].path}: at least one prompt is required, got none. Add one.")
    return joined


def read_any(files: Sequence[FileState], field: str | None) -> PromptList:
    """Return the prompts of files as they come, empty ones included; the text of an object may have any field."""
    return _joined([read_file(file.path, field) for file in files])


def _joined(parts: Sequence[PromptList]) -> PromptList:
    if len(parts) == 1:
        return parts[0]
    texts, metadata = ([entry for part in parts for entry in getattr(part, name)] for name in ("texts", "metadata"))
    return PromptList(tuple(texts), tuple(metadata))


def _files(folder: Path) -> Sequence[Path]:
    """Return the files of a folder, hidden ones left out; none where there is no folder."""
    return _entries(folder).files if folder.is_dir() else ()


def _entries(folder: Path) -> _Entries:
    return _scan(_state(folder))


def _state(path: Path) -> FileState:
    try:
        return FileState.of(path)
    except OSError as error:
        raise ValueError(f"{path}: a file or folder is required, got: {error.strerror}. Correct it.") from None


@lru_cache(_KEPT)
def _scan(folder: FileState) -> _Entries:
    """Scan a folder; it is scanned again only after an entry was added or removed, which changes its state."""
    try:
        with os.scandir(folder.path) as scan:
            entries = sorted(Path(entry.path) for entry in scan if not entry.name.startswith("."))
    except OSError as error:
        raise ValueError(f"{folder.path}: a folder that can be read is required, got: {error.strerror}.") from None
    files = (path for path in entries if not path.is_dir())
    return _Entries(tuple(files), tuple(path for path in entries if path.is_dir()))


def _by_numbers(path: Path) -> list[str | int]:
    """Return a sort key that puts shard 10 after shard 9."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)]


def _require_every_shard(paths: Sequence[Path], split: str) -> None:
    """Refuse shards named `-00000-of-00002` unless all of them, and no others, exist."""
    numbered = [_OF.search(path.name) for path in paths]
    if not any(numbered):
        return
    numbers = {(int(match[1]), int(match[2])) for match in numbered if match}
    totals = sorted({total for _, total in numbers})
    if len(paths) != len(numbers) or totals != [len(numbers)]:
        raise ValueError(
            f"all {' or '.join(map(str, totals[:4]))} shards of the {split} texts and nothing else are required, got "
            f"{listed(sorted(path.name for path in paths))} in {paths[0].parent}. Complete the download."
        )
