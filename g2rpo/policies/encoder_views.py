"""What the text encoders of a pipeline see of texts: the tokens up to the length at which each cuts."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from g2rpo.model_files.weights import load_tokenizer
from g2rpo.policies.protocol import EncoderView
from g2rpo.quiet import quietly


def encoder_views(folder: Path, lengths: Mapping[str, int | None], texts: Sequence[str]) -> tuple[EncoderView, ...]:
    """Return what each encoder sees of texts.

    Args:
        folder: The pipeline.
        lengths: The tokens that each encoder reads, by the folder of its tokenizer; None: the tokenizer's own length.
        texts: The texts.
    """
    return tuple(_view(folder / name, length, texts) for name, length in lengths.items())


def _view(folder: Path, length: int | None, texts: Sequence[str]) -> EncoderView:
    tokenizer = _tokenizer(folder)
    with quietly():
        whole: list[list[int]] = tokenizer(list(texts), verbose=False).input_ids if texts else []
    most = length or tokenizer.model_max_length
    seen = tuple(tuple(row if len(row) <= most else row[: most - 1]) for row in whole)
    return EncoderView(folder.name, most, seen, sum(len(row) > most for row in whole))


@lru_cache(4)
def _tokenizer(folder: Path) -> Any:
    """Return a tokenizer; the lists of a run are read one after the other by the same ones."""
    return load_tokenizer(AutoTokenizer, folder)
