"""Prompts that are longer than the text encoders read, and lists that have the same text up to there.

An encoder reads 77 or 512 tokens and ignores the rest: texts that differ only after these are the same to the model.
"""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from g2rpo.messages import shown
from stages.params.record import Params
from stages.texts.lists import compared_splits, prompt_list, splits_of

if TYPE_CHECKING:
    from g2rpo.policies.protocol import EncoderView

Views = Callable[[Sequence[str]], Sequence["EncoderView"]]
"""Returns what each encoder of the model sees of texts; none if it cuts no text."""


def cut_prompts(params: Params, views: Views) -> list[str]:
    """Return a line for each split and encoder that cuts some of its texts.

    Example: `train: 12 of 437 prompts have more than the 77 tokens that tokenizer reads`.

    Raises:
        ValueError: If a held-out list and another one have a text that is the same to all encoders.
    """
    lines, seen = list[str](), dict[str, dict[tuple[tuple[int, ...], ...], str]]()
    for split in splits_of(params):
        texts = prompt_list(params, split)
        each = views(texts)
        lines += [
            f"{split}: {view.num_cut} of {len(texts)} prompts have more than the {view.max_tokens} tokens that "
            f"{view.encoder} reads"
            for view in each
            if view.num_cut
        ]
        if each:
            seen[split] = dict(zip(zip(*(view.tokens for view in each), strict=True), texts, strict=True))
    for first, second in combinations(compared_splits(params) if seen else (), 2):
        if shared := seen[first].keys() & seen[second].keys():
            pair = min((seen[first][key], seen[second][key]) for key in shared)
            raise ValueError(
                f"prompts.path: lists without a common text are required, got {len(shared)} that the text encoders "
                f"read alike in {first} and {second}, as {shown(pair[0])} and {shown(pair[1])}. Shorten or remove them."
            )
    return lines
