"""The prompts that a round draws from its list, and the noise that each starts from.

Each epoch visits every caption of the split once, in an order that the seed determines. The noise index of a
prompt is its epoch, so a repeated caption has another noise.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from g2rpo.positions import position_seed
from stages.params.record import Params
from stages.texts.lists import check_disjoint, prompt_list, record_id


def check_prompts(params: Params) -> None:
    """Refuse a round with more prompts than the split has texts, and held-out lists that share a text with it.

    Raises:
        ValueError: With the number of texts.
    """
    check_disjoint(params)
    settings = params.prompts
    available = len(prompt_list(params, settings.split))
    if settings.num_prompts > available:
        raise ValueError(
            f"prompts.num_prompts: at most the {available} texts of split {settings.split} make a round, "
            f"got {settings.num_prompts}. Lower it."
        )


def noise_seeds(params: Params, round_number: int) -> list[int]:
    """Return the seeds of the noises that the prompts of a round start from."""
    settings, seed = params.prompts, params.run.seed
    count, first = len(prompt_list(params, settings.split)), round_number * settings.num_prompts
    drawn = (draw(count, first + slot, seed) for slot in range(settings.num_prompts))
    return [position_seed("noise", seed, round_number, prompt_id(settings.split, *pair)) for pair in drawn]


def drawn_texts(params: Params, rounds: Iterable[int]) -> list[str]:
    """Return the distinct texts that rounds of a run draw."""
    settings = params.prompts
    texts = prompt_list(params, settings.split)
    drawn, distinct = dict[str, None](), len(set(texts))
    for number in rounds:
        if len(drawn) == distinct:  # a run may have many more rounds than the list has texts
            break
        for slot in range(number * settings.num_prompts, (number + 1) * settings.num_prompts):
            drawn[texts[draw(len(texts), slot, params.run.seed)[0]]] = None
    return list(drawn)


def draw(num_captions: int, slot: int, seed: int) -> Sequence[int]:
    """Return (caption index, noise index) of the slot-th prompt of a run, counted over all its rounds.

    Example: with 3 captions, slots 0 to 2 hold captions 0, 1 and 2 in some order, each with noise 0.
    """
    epoch, place = divmod(slot, num_captions)
    return int(_order(num_captions, epoch, seed)[place]), epoch


@lru_cache(2)  # a round spans two epochs at most: it has no more prompts than available are captions
def _order(num_captions: int, epoch: int, seed: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(position_seed("epoch", seed, epoch)).permutation(num_captions)


def prompt_id(split: str, caption: int, noise: int) -> str:
    """Return the name of a caption with a noise. Example: `train-0042-003`."""
    return f"{record_id(split, caption)}-{noise:03d}"
