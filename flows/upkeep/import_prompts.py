"""Import of published prompts: a file or folder becomes our Parquet lists, without repeated or shared texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.disk.files import atomic_folder
from stages.texts.files import PromptList, is_blank, read_file
from stages.texts.layouts import find_split, layouts, read_any
from stages.texts.lists import write_list

_HELD_OUT = ("tuning", "test")
_NAMES = {"train": ("train",), "tuning": ("tuning", "validation"), "test": ("test",), "all": ("all",)}
"""Our splits, and the names that a source may use for them."""


@dataclass(frozen=True)
class Imported:
    """The result for one list. Example: `Imported("train", 103_700, empty=0, repeated=12, shared=3)`."""

    split: str
    length: int
    empty: int
    """Rows without a text, dropped."""
    repeated: int
    """Rows that repeat an earlier text of the list, dropped."""
    shared: int
    """Rows whose text is also in a held-out list, dropped here."""

    def __str__(self) -> str:
        dropped = f"{self.empty} empty, {self.repeated} repeated, {self.shared} held out elsewhere"
        return f"{self.split}: {self.length} texts; dropped: {dropped}"


def import_prompts(
    source: Path, out: Path, *, field: str | None, tuning: int, test: int, metadata: bool
) -> list[Imported]:
    """Write the lists of a source atomically as a folder for `prompts.path`, and return what was dropped.

    It drops rows without a text, rows that repeat an earlier text of their list, training texts that are also held out
    (in `tuning` or `test`), and tuning texts that are also in `test`. The list `all` may share texts with the others.

    Args:
        source: A folder of lists, where `validation` also means `tuning`; or one file, which is a training list.
        out: Folder of the lists; it must be empty or must not exist.
        field: The field of the text in objects; None looks for `prompt`, `text` or `caption`.
        tuning: Number of training texts to move to `tuning`, spread evenly over the list; 0 for none.
        test: Number of training texts to move to `test`, before those of `tuning`; 0 for none.
        metadata: Whether to keep the other fields beside the texts.

    Raises:
        ValueError: If the source cannot be read, already has a list that should be created, or has too few texts.
    """
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise ValueError(f"--out: an empty or new folder is required, got {out}, which is not empty. Use another.")
    read = _source_lists(source, field)
    if not metadata:
        read = {split: PromptList.plain(prompts.texts) for split, prompts in read.items()}
    lists, dropped = _cleaned(read)
    for split, count in (("test", test), ("tuning", tuning)):
        if count:
            _set_apart(lists, split, count)
    for split, prompts in lists.items():
        if not prompts.texts:
            raise ValueError(f"{source}: at least one {split} text is required, got none that is in no other list.")
    with atomic_folder(out) as folder:
        for split, prompts in lists.items():
            write_list(folder / split, split, prompts)
    return [
        Imported(split, len(lists[split].texts), *dropped.get(split, (0, 0, 0))) for split in _NAMES if split in lists
    ]


def _source_lists(source: Path, field: str | None) -> dict[str, PromptList]:
    """Return the lists of a source, by split."""
    if source.exists() and not source.is_dir():
        return {"train": read_file(source, field)}
    if not source.is_dir():
        raise ValueError(f"A file or folder of prompts is required, got no {source}. Correct the path.")
    named = {split: [name for name in names if layouts(source, name)] for split, names in _NAMES.items()}
    doubled = next((names for names in named.values() if len(names) > 1), None)
    if doubled:
        raise ValueError(f"{source}: one list is required, got both {' and '.join(doubled)}. Remove one.")
    if not any(named.values()):
        find_split(source, "train")  # raises an error with the files and what is required
    return {split: read_any(find_split(source, names[0]), field) for split, names in named.items() if names}


def _cleaned(read: dict[str, PromptList]) -> tuple[dict[str, PromptList], dict[str, Sequence[int]]]:
    """Return the lists without repeated or held-out texts, and the number of dropped rows of each."""
    lists: dict[str, PromptList] = {}
    dropped: dict[str, Sequence[int]] = {}
    held_out: set[str] = set()
    for split in ("test", "tuning", "train", "all"):
        if split not in read:
            continue
        prompts, elsewhere = read[split], set[str]() if split == "all" else held_out
        filled = [row for row, text in enumerate(prompts.texts) if not is_blank(text)]
        first = sorted({prompts.texts[row]: row for row in reversed(filled)}.values())
        kept = [row for row in first if prompts.texts[row] not in elsewhere]
        lists[split] = prompts.only(kept)
        dropped[split] = (len(prompts.texts) - len(filled), len(filled) - len(first), len(first) - len(kept))
        if split in _HELD_OUT:
            held_out.update(lists[split].texts)
    return lists, dropped


def _set_apart(lists: dict[str, PromptList], split: str, count: int) -> None:
    """Move training texts, spread evenly over their list, to a held-out list."""
    if split in lists:
        raise ValueError(f"--{split}: a source without a {split} list is required, got one with it. Omit the option.")
    train = lists.get("train", PromptList((), ()))
    length = len(train.texts)
    if count >= length:
        raise ValueError(f"--{split}: fewer than the {length} training texts are required, got {count}. Lower it.")
    spread = [index * length // count for index in range(count)]
    moved = set(spread)
    lists[split] = train.only(spread)
    lists["train"] = train.only(row for row in range(length) if row not in moved)
