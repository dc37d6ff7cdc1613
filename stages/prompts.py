"""Stage `prompts`: what a round is asked to paint, and from which noise it starts.

Each epoch visits every caption of the split once, in an order that hangs on the seed; the noise index of a
prompt is its epoch, so a caption that comes again comes with another noise.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from g2rpo.positions import position_seed
from stages.contract.job import Job
from stages.disk.tables import PROMPTS, arrow, write_shard
from stages.engine.loaded_models import Resources
from stages.params.record import Params
from stages.texts.lists import check_apart, full_list, prompt_list


def run(job: Job, resources: Resources) -> None:
    """Write the prompts of the round, `prompts.shard_size` a shard."""
    chosen = job.params.prompts
    there, seed = full_list(job.params, chosen.split), job.params.run.seed
    first = job.round_number * chosen.num_prompts
    drawn = [draw(len(there.texts), first + slot, seed) for slot in range(chosen.num_prompts)]
    parts = [drawn[i : i + chosen.shard_size] for i in range(0, len(drawn), chosen.shard_size)]
    for shard in job.pending(range(len(parts)), "prompts"):
        ids = [prompt_id(chosen.split, caption, noise) for caption, noise in parts[shard]]
        columns = {
            "prompt_id": ids,
            "text": [there.texts[caption] for caption, _ in parts[shard]],
            "split": [chosen.split] * len(ids),
            "metadata": [there.metadata[caption] for caption, _ in parts[shard]],
            "noise_seed": [position_seed("noise", seed, job.round_number, name) for name in ids],
        }
        write_shard(job.outputs["prompts"], shard, PROMPTS, arrow(PROMPTS, columns), stamp=job.stamp)


def check_prompts(params: Params) -> None:
    """Refuse a round of more prompts than the split has texts, and held-out lists with a text of the split.

    Raises:
        ValueError: With the number of texts.
    """
    check_apart(params)
    chosen = params.prompts
    there = len(prompt_list(params, chosen.split))
    if chosen.num_prompts > there:
        raise ValueError(
            f"prompts.num_prompts: at most the {there} texts of split {chosen.split} make a round, "
            f"got {chosen.num_prompts}. Lower it."
        )


def noise_seeds(params: Params, round_number: int) -> list[int]:
    """Return the seeds of the noises that the prompts of a round start from."""
    chosen, seed = params.prompts, params.run.seed
    count, first = len(prompt_list(params, chosen.split)), round_number * chosen.num_prompts
    drawn = (draw(count, first + slot, seed) for slot in range(chosen.num_prompts))
    return [position_seed("noise", seed, round_number, prompt_id(chosen.split, *pair)) for pair in drawn]


def drawn_texts(params: Params, rounds: Iterable[int]) -> list[str]:
    """Return the texts that rounds of a run draw, each once."""
    chosen = params.prompts
    texts = prompt_list(params, chosen.split)
    slots = (number * chosen.num_prompts + slot for number in rounds for slot in range(chosen.num_prompts))
    return list(dict.fromkeys(texts[draw(len(texts), slot, params.run.seed)[0]] for slot in slots))


def draw(num_captions: int, slot: int, seed: int) -> Sequence[int]:
    """Return (caption index, noise index) of the slot-th prompt of a run, counted over all its rounds.

    Example: with 3 captions, slots 0 to 2 hold captions 0, 1 and 2 in some order, each with noise 0.
    """
    epoch, place = divmod(slot, num_captions)
    return int(_order(num_captions, epoch, seed)[place]), epoch


@lru_cache(2)  # a round spans two epochs at most: it has no more prompts than there are captions
def _order(num_captions: int, epoch: int, seed: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(position_seed("epoch", seed, epoch)).permutation(num_captions)


def prompt_id(split: str, caption: int, noise: int) -> str:
    """Return the name of a caption with a noise. Example: `train-0042-003`."""
    return f"{split}-{caption:04d}-{noise:03d}"
