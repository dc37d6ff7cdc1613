"""The texts that prompts are drawn from: the lists of `prompts.path`, else those of the model family."""

from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import combinations
from pathlib import Path

from g2rpo.messages import shown
from g2rpo.policies.families import FAMILIES
from stages.disk.files import FileState
from stages.disk.tables import TEXTS, arrow, shard_stamp, write_shard
from stages.params.record import Params
from stages.texts.files import PromptList
from stages.texts.layouts import find_split, read_split

_KEPT = 8  # lists in memory: three splits of a source, and as many of a run's own copy


def prompt_list(params: Params, split: str) -> tuple[str, ...]:
    """Return the texts of a split, in their order.

    Raises:
        ValueError: If `prompts.path` has no such list, or the policy cannot read one of its texts.
    """
    return full_list(params, split).texts


def full_list(params: Params, split: str) -> PromptList:
    """Return the texts of a split with their metadata; files are read again only when they have changed.

    Raises:
        ValueError: If `prompts.path` has no such list, or the policy cannot read one of its texts.
    """
    family, path = params.policy.family, params.prompts.path
    if path is None:
        return _family_list(family, split)
    try:
        return _list_of_files(family, find_split(Path(path), split))
    except ValueError as error:
        raise ValueError(f"prompts.path: {error}") from error


def list_digest(params: Params, split: str) -> str:
    """Return the digest of a split's texts and metadata, whatever their path."""
    return full_list(params, split).digest


def family_captions(family: str, split: str) -> tuple[str, ...]:
    """Return a family's own captions.

    Raises:
        ValueError: If it has none.
    """
    world = FAMILIES[family].world
    if world is None:
        raise ValueError(
            f"prompts.path: a folder of lists is required, got null, and the family {family} has no captions of its "
            "own. Make lists by `g2rpo import-prompts`, and name their folder."
        )
    return world.captions(split)


def check_texts(family: str, texts: Sequence[str]) -> None:
    """Refuse texts that the policy cannot read.

    Raises:
        ValueError: With the text.
    """
    if world := FAMILIES[family].world:
        world.read(texts)


def check_disjoint(params: Params) -> None:
    """Refuse a text in more than one of the lists for training, evaluation and report.

    The same split named twice, or the split `all`, is a choice that params.yaml shows, so it is allowed.

    Raises:
        ValueError: With the number of shared texts and one of them.
    """
    for first, second in combinations(compared_splits(params), 2):
        shared = set(prompt_list(params, first)) & set(prompt_list(params, second))
        if shared:
            raise ValueError(
                f"prompts.path: lists without a common text are required, got {len(shared)} in both {first} and "
                f"{second}, as {shown(min(shared))}: training and the choice of a round must not use held-out texts. "
                "`g2rpo import-prompts` separates lists."
            )


def compared_splits(params: Params) -> list[str]:
    """Return the splits that must not share a text; none with the family's own captions, which are apart."""
    return sorted({*splits_of(params)} - {"all"}) if params.prompts.path else []


def with_prompts(params: Params, folder: Path) -> Params:
    """Return the parameters with their lists of prompts in another folder."""
    return params.with_values({"prompts.path": str(folder)})


def write_prompt_lists(params: Params, out: Path) -> dict[str, int]:
    """Write the lists that a run, its evaluations and its report draw from; return their lengths by split.

    A list that already has the digest of the one to write stays as it is.
    """
    lengths: dict[str, int] = {}
    for split in splits_of(params):
        prompts = full_list(params, split)
        if shard_stamp(out / split, 0) != prompts.digest:
            write_list(out / split, split, prompts)
        lengths[split] = len(prompts.texts)
    return lengths


def splits_of(params: Params) -> list[str]:
    """Return the splits that a run, its evaluations and its report draw from, each once."""
    return list(dict.fromkeys((params.prompts.split, params.evaluate.split, params.report.split)))


def write_list(folder: Path, split: str, prompts: PromptList) -> None:
    """Write a split's list as a table, one row per prompt record, stamped with the list's digest."""
    count = len(prompts.texts)
    columns = {
        "id": [record_id(split, index) for index in range(count)],
        "text": prompts.texts,
        "negative_text": [""] * count,
        "metadata": prompts.metadata,
        "source_picture": [b""] * count,
    }
    write_shard(folder, 0, TEXTS, arrow(TEXTS, columns), stamp=prompts.digest)


def record_id(split: str, index: int) -> str:
    """Return the id of a split's prompt record. Example: `train-0042`."""
    return f"{split}-{index:04d}"


@cache
def _family_list(family: str, split: str) -> PromptList:
    return PromptList.plain(family_captions(family, split))


@lru_cache(_KEPT)
def _list_of_files(family: str, files: tuple[FileState, ...]) -> PromptList:
    prompts = read_split(files)
    check_texts(family, prompts.texts)
    return prompts
